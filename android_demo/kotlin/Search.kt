// Search with coroutines. Copy this file into your app; it needs org.jetbrains.kotlinx:kotlinx-coroutines-core.
package io.github.mcadmobile.kotlin

import android.net.Uri
import io.github.mcadmobile.engine.SearchEngine
import io.github.mcadmobile.engine.towers.Ladder
import io.github.mcadmobile.gallery.Filter
import io.github.mcadmobile.gallery.Indexing
import io.github.mcadmobile.gallery.PhotoFinder
import io.github.mcadmobile.gallery.PhotoSearch
import io.github.mcadmobile.platform.MediaSearch
import java.util.concurrent.CompletableFuture
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.coroutines.resume
import kotlin.coroutines.resumeWithException
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.flow.conflate
import kotlinx.coroutines.suspendCancellableCoroutine

/** The content URI of a found photo. */
val SearchEngine.Result.uri: Uri get() = MediaSearch.uri(this)

/** [PhotoFinder] with coroutines: `val photos = MediaSearch.of(context).suspending()`. */
class SuspendingSearch(private val finder: PhotoFinder) {
    /** The [most] photos nearest to [words]. A search that is cancelled before its turn never runs. */
    suspend fun search(words: String, most: Int, filter: Filter = Filter.ALL): SearchEngine.Found =
        finder.searchLater(words, most, filter).await()

    /** The progress of indexing: now, and at each change. */
    val indexing: Flow<Indexing> = callbackFlow {
        val listener = Runnable { trySend(finder.indexing()) }
        finder.addListener(listener)
        listener.run()
        awaitClose { finder.removeListener(listener) }
    }.conflate()

    /**
     * Index the photos and emit progress until done. Cancelling the collector stops the run. If a run is active, it
     * makes another pass: the flow follows it to its end, and cancelling the collector does not stop it.
     */
    fun index(): Flow<Indexing> = callbackFlow {
        val follows = AtomicBoolean()
        val listener = Runnable {
            val now = finder.indexing()
            trySend(now)
            if (follows.get() && !now.running()) close()
        }
        finder.addListener(listener)
        val run = finder.indexLater()
        run.whenComplete { outcome, error ->
            follows.set(error == null && !outcome.isPresent)
            listener.run()
            if (!follows.get()) close(error)
        }
        awaitClose {
            finder.removeListener(listener)
            run.cancel(false)
        }
    }.conflate()
}

/** Why the NPU does not run a [tower] ("image" or "text"). */
data class NpuUnused(val tower: String, val why: Ladder.Skipped)

/** Why the NPU is not used, each time that a tower is loaded: collect it before the first search. */
val PhotoSearch.npuUnused: Flow<NpuUnused>
    get() = callbackFlow {
        val listener = Ladder.NpuListener { tower, why -> trySend(NpuUnused(tower, why)) }
        addNpuListener(listener)
        awaitClose { removeNpuListener(listener) }
    }

fun PhotoFinder.suspending() = SuspendingSearch(this)

private suspend fun <T : Any> CompletableFuture<T>.await(): T = suspendCancellableCoroutine { waiting ->
    waiting.invokeOnCancellation { cancel(false) }
    whenComplete { value, error ->
        if (error == null) waiting.resume(value) else waiting.resumeWithException(error)
    }
}
