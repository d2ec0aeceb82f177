// Stands in for what we use of androidx.paging:paging-common 3.3.
package androidx.paging

class PagingState<Key : Any, Value : Any>

abstract class PagingSource<Key : Any, Value : Any> {
    class LoadParams<Key : Any>(val key: Key?, val loadSize: Int)

    sealed class LoadResult<Key : Any, Value : Any> {
        data class Page<Key : Any, Value : Any>(val data: List<Value>, val prevKey: Key?, val nextKey: Key?) :
            LoadResult<Key, Value>()

        data class Error<Key : Any, Value : Any>(val throwable: Throwable) : LoadResult<Key, Value>()
    }

    abstract suspend fun load(params: LoadParams<Key>): LoadResult<Key, Value>

    abstract fun getRefreshKey(state: PagingState<Key, Value>): Key?
}
