/* Lets each fdatasync of a file in one directory take a millisecond longer, as on a disk, for a gateway that
 * preloads it. SLOW_SYNC_DIRECTORY names the directory. SLOW_SYNC_COUNT names a file that grows by a byte with
 * each of them. Other files, such as those of the database, are synced without a delay. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int is_slow(int fd) {
    const char *directory = getenv("SLOW_SYNC_DIRECTORY");
    char link[64], path[4096];
    if (!directory) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, directory, strlen(directory)) == 0;
}

static void count(void) {
    const char *name = getenv("SLOW_SYNC_COUNT");
    int file = name ? open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (file < 0) return;
    if (write(file, "s", 1) != 1) perror(name);
    close(file);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int saved = errno;
    if (is_slow(fd)) {
        struct timespec millisecond = {0, 1000000};
        count();
        nanosleep(&millisecond, NULL);
    }
    errno = saved;
    return real(fd);
}
