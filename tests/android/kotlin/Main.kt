package io.github.mcadmobile.test

import io.github.mcadmobile.desktop.ImageIoDecoder
import io.github.mcadmobile.engine.photos.PhotoDecoder
import io.github.mcadmobile.gallery.Device
import io.github.mcadmobile.gallery.FakePhotoSearch
import io.github.mcadmobile.gallery.FolderPhotos
import io.github.mcadmobile.gallery.Indexing
import io.github.mcadmobile.gallery.PhotoSearch
import io.github.mcadmobile.kotlin.npuUnused
import io.github.mcadmobile.kotlin.suspending
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.Paths
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicInteger
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.last
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext

/** Waits for [gate] over the second photo. */
private class Held(val gate: CountDownLatch) : PhotoDecoder {
    private val real = ImageIoDecoder()
    private val decoded = AtomicInteger()

    override fun decode(source: PhotoDecoder.Source, atLeast: Int) = run {
        if (decoded.incrementAndGet() == 2) gate.await()
        real.decode(source, atLeast)
    }
}

private class Computer(private val folder: Path) : Device {
    override fun directory(): Path = folder

    override fun environment() = ""
}

/** Arguments: a bundle, a folder of three photos, a folder for the index. Each line is one fact. */
fun main(arguments: Array<String>) = runBlocking {
    fake()
    val (bundle, photos, index) = arguments.map { Paths.get(it) }
    val gate = CountDownLatch(1)
    val search = PhotoSearch.open(
        PhotoSearch.Setup(
            { Files.newInputStream(bundle.resolve(it)) }, listOf(), FolderPhotos(photos), Held(gate), Computer(index)
        )
    )
    val unused = async(Dispatchers.Unconfined) { search.npuUnused.first() }
    val suspending = search.suspending()
    val seen = suspending.index().first { it.done() == 1 }
    gate.countDown()
    withContext(Dispatchers.IO) { search.awaitIndexing() }
    println("cancelled after ${seen.done()} of ${seen.total()}: all can be searched: ${search.photos() == 3}")
    val last = suspending.index().toList().last()
    println("then ${last.done()} of ${last.total()}, running: ${last.running()}")
    println("found ${suspending.search("a photo", 2).results().size} of ${search.photos()}")
    println("npu: ${unused.await().run { "$tower: ${why.reason()}" }}")
    search.close()
}

private suspend fun fake() = runBlocking {
    val fake = FakePhotoSearch()
    val photos = fake.suspending()
    fake.answer("a dog", "content://media/external/images/media/7", "content://media/external/images/media/8")
    println("fake: ${photos.search("a dog", 1).results().map { it.path() }}, ${photos.search("a cat", 1).results()}")
    fake.fail(IOException("no more"))
    try {
        photos.search("a dog", 1)
    } catch (error: IOException) {
        println("fake: ${error.message}")
    }
    val reached = async { photos.indexing.first { it.done() == 3 } }
    val indexing = Indexing(true, false, false, 3, 9, 60.0, 0, false, null)
    val ended = Indexing(false, false, false, 9, 9, 0.0, 0, false, null)
    withContext(Dispatchers.IO) { while (!reached.isCompleted) fake.become(indexing, 3) }
    println("fake: ${reached.await().done()} of 9, asked ${fake.asked()}")
    val last = photos.index().onEach { if (it.running()) fake.become(ended, 9) }.last()
    println("fake: the run of another ended at ${last.done()} of ${last.total()}")
    val never = async { photos.indexing.first { it.done() == 99 } }
    never.cancel()
    try {
        never.await()
    } catch (cancelled: CancellationException) {
        println("fake: cancelled")
    }
}
