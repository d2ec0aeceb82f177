package io.github.mcadmobile.test

import androidx.paging.PagingSource.LoadParams
import androidx.paging.PagingSource.LoadResult
import io.github.mcadmobile.gallery.FakePhotoSearch
import io.github.mcadmobile.kotlin.PagedSearch
import io.github.mcadmobile.kotlin.suspending
import java.io.IOException
import kotlinx.coroutines.runBlocking

/** Two pages of three photos, and a failure. Each line is one. */
fun main() = runBlocking {
    val fake = FakePhotoSearch()
    fake.answer("a dog", "a", "b", "c")
    val pages = PagedSearch(fake.suspending(), "a dog")
    for (first in listOf(null, 2)) {
        val page = pages.load(LoadParams(first, 2)) as LoadResult.Page
        println("${page.data.map { it.path() }}, next ${page.nextKey}")
    }
    fake.fail(IOException("no more"))
    println((pages.load(LoadParams(null, 2)) as LoadResult.Error).throwable.message)
}
