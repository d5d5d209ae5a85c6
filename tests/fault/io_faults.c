/* Lets writes and syncs of one SQLite database fail, for a test that preloads it. The file that
 * HSMGATE_IO_FAULTS names holds what fails and how often: "write 30", "sync 30" or "both 30" for 30 of
 * 100 calls, anything else for none. HSMGATE_IO_FAULTS_DATABASE names the database. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_database(int fd) {
    const char *database = getenv("HSMGATE_IO_FAULTS_DATABASE");
    struct stat open, named;
    char path[4096];
    if (!database || fstat(fd, &open) != 0) return 0;
    for (int log = 0; log < 2; log++) {
        snprintf(path, sizeof path, "%s%s", database, log ? "-wal" : "");
        if (stat(path, &named) == 0 && named.st_dev == open.st_dev && named.st_ino == open.st_ino)
            return 1;
    }
    return 0;
}

/* Whether this call fails. */
static int fails(int fd, const char *kind) {
    static __thread unsigned seed;
    char text[32] = "", what[16] = "";
    int percent = 0, saved = errno, is_over = 0;
    const char *control = getenv("HSMGATE_IO_FAULTS");
    if (!control || !is_database(fd)) { errno = saved; return 0; }
    int from = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (from >= 0) {
        if (syscall(SYS_read, from, text, sizeof text - 1) > 0
            && sscanf(text, "%15s %d", what, &percent) == 2
            && (strcmp(what, kind) == 0 || strcmp(what, "both") == 0)) {
            if (!seed) seed = (unsigned)syscall(SYS_gettid) * 2654435761u;
            is_over = (int)(rand_r(&seed) / 7 % 100) < percent;
        }
        syscall(SYS_close, from);
    }
    errno = saved;
    return is_over;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL(pwrite);
    if (fails(fd, "write")) { errno = ENOSPC; return -1; }
    return real(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    if (fails(fd, "write")) { errno = EIO; return -1; }
    return real(fd, bytes, count, at);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    if (fails(fd, "write")) { errno = EIO; return -1; }
    return real(fd, bytes, count);
}

int fsync(int fd) {
    REAL(fsync);
    if (fails(fd, "sync")) { errno = EIO; return -1; }
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (fails(fd, "sync")) { errno = EIO; return -1; }
    return real(fd);
}
