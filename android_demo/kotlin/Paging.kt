// Search page by page. Copy this file and Search.kt into your app; it needs androidx.paging:paging-common.
package io.github.mcadmobile.kotlin

import androidx.paging.PagingSource
import androidx.paging.PagingState
import io.github.mcadmobile.engine.SearchEngine
import io.github.mcadmobile.gallery.Filter
import java.io.IOException

/**
 * The photos nearest to [words], best first: `Pager(PagingConfig(60)) { PagedSearch(photos, words) }.flow`. A page
 * costs a search of all that come before, a few milliseconds, so later photos may repeat earlier ones if the index grew.
 */
class PagedSearch(
    private val photos: SuspendingSearch,
    private val words: String,
    private val filter: Filter = Filter.ALL,
) : PagingSource<Int, SearchEngine.Result>() {
    override suspend fun load(params: LoadParams<Int>): LoadResult<Int, SearchEngine.Result> {
        val first = params.key ?: 0
        val last = first + params.loadSize
        return try {
            val found = photos.search(words, last, filter).results()
            LoadResult.Page(found.drop(first), null, last.takeIf { found.size == last })
        } catch (error: IOException) {
            LoadResult.Error(error)
        }
    }

    /** A search that changed begins again at the best photos. */
    override fun getRefreshKey(state: PagingState<Int, SearchEngine.Result>): Int? = null
}
