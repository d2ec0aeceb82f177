// A screen in Compose. Copy this file and Search.kt into your app; it needs androidx.compose.material3:material3.
package io.github.mcadmobile.kotlin

import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.lazy.grid.GridCells
import androidx.compose.foundation.lazy.grid.LazyVerticalGrid
import androidx.compose.foundation.lazy.grid.items
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.Text
import androidx.compose.material3.TextField
import androidx.compose.runtime.Composable
import androidx.compose.runtime.LaunchedEffect
import androidx.compose.runtime.collectAsState
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.remember
import androidx.compose.runtime.saveable.rememberSaveable
import androidx.compose.runtime.setValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.unit.dp
import io.github.mcadmobile.engine.SearchEngine
import java.io.IOException
import kotlinx.coroutines.delay

private const val TYPING_MS = 150L
private const val MOST = 120

/** A field for words above the photos nearest to them; [photo] draws one: `AsyncImage(it.uri, null)` with Coil. */
@Composable
fun SearchScreen(photos: SuspendingSearch, photo: @Composable (SearchEngine.Result) -> Unit) {
    var words by rememberSaveable { mutableStateOf("") }
    var found by remember { mutableStateOf(emptyList<SearchEngine.Result>()) }
    var failure by remember { mutableStateOf<String?>(null) }
    val indexing by photos.indexing.collectAsState(null)
    LaunchedEffect(words) {
        delay(TYPING_MS) // a search for each word, not for each key
        try {
            found = if (words.isBlank()) emptyList() else photos.search(words, MOST).results()
            failure = null
        } catch (error: IOException) {
            failure = error.message
        }
    }
    Column {
        TextField(words, { words = it }, Modifier.fillMaxWidth(), singleLine = true)
        indexing?.takeIf { it.running() && it.total() > 0 }?.let { now ->
            LinearProgressIndicator({ now.done().toFloat() / now.total() }, Modifier.fillMaxWidth())
        }
        failure?.let { Text(it) }
        LazyVerticalGrid(GridCells.Adaptive(112.dp)) {
            items(found, { it.path() }) { photo(it) }
        }
    }
}
