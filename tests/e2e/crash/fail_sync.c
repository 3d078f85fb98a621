/* Preloaded into the writer: fsync and fdatasync of files whose path begins with FAIL_SYNC_PREFIX fail with EIO
 * while the file FAIL_SYNC_TRIGGER exists. Nothing reaches the disk then, as when the disk is gone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int must_fail(int descriptor)
{
    const char *prefix = getenv("FAIL_SYNC_PREFIX");
    const char *trigger = getenv("FAIL_SYNC_TRIGGER");
    char link[64], path[4096];
    ssize_t length;
    if (!prefix || !trigger || access(trigger, F_OK) != 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static int forward(const char *name, int descriptor)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (must_fail(descriptor)) {
        errno = EIO;
        return -1;
    }
    return real(descriptor);
}

int fsync(int descriptor) { return forward("fsync", descriptor); }
int fdatasync(int descriptor) { return forward("fdatasync", descriptor); }
