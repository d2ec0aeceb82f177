/* Loaded before libc, so that a test can watch what a process does with files, fail a call, or kill the process before
 * it. What Python calls passes here, too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *awaited = "", *suffix = "";
static int left, fault;
static FILE *written;

/* Fail the `nth` call from now on of a function of a file whose name ends so, with an errno; 0 kills the process. */
void disk_fault(const char *function, const char *file, int nth, int number) {
    awaited = strdup(function), suffix = strdup(file), left = nth, fault = number;
}

void disk_log(const char *path) { written = fopen(path, "w"); }

static int strikes(const char *function, const char *file, long from, long size) {
    size_t length = strlen(file), end = strlen(suffix);
    if (written) {
        fprintf(written, "%s %ld %ld %s\n", function, from, size, file);
        fflush(written);
    }
    if (strcmp(function, awaited) || length < end || strcmp(file + length - end, suffix) || --left) return 0;
    if (!fault) kill(getpid(), SIGKILL);
    errno = fault;
    return 1;
}

static int strikes_open(const char *function, int file, long from, long size) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name - 1);
    name[length < 0 ? 0 : length] = 0;
    return strikes(function, name, from, size);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int file) { return strikes_open("fsync", file, 0, 0) ? -1 : NEXT(fsync)(file); }
int rename(const char *from, const char *to) { return strikes("rename", from, 0, 0) ? -1 : NEXT(rename)(from, to); }
int unlink(const char *path) { return strikes("unlink", path, 0, 0) ? -1 : NEXT(unlink)(path); }
ssize_t pread(int file, void *into, size_t size, off_t from) {
    return strikes_open("pread", file, from, (long)size) ? -1 : NEXT(pread)(file, into, size, from);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t from) {
    return strikes_open("pwrite", file, from, (long)size) ? -1 : NEXT(pwrite)(file, data, size, from);
}
int posix_fadvise(int file, off_t from, off_t size, int advice) {
    return strikes_open(advice == POSIX_FADV_WILLNEED ? "prefetch" : "advise", file, from, size)
        ? errno : NEXT(posix_fadvise)(file, from, size, advice);
}
