/* Preloaded into a program: disturbs the nth call that opens, writes, reads or changes files below one folder.

   cc -shared -fPIC -O1 -o fault_shim.so fault_shim.c -ldl

   fault_arm(folder, nth, what, number) begins to count; nth 0 only counts. `what`:
     1  the call fails with errno `number`
     2  a write or read handles half of its bytes
     3  the process is killed
     4  the process receives the signal `number`
     5  the clock jumps by `number` seconds
     6  this call and all later ones that write fail with errno `number`: the disk is full, or gone
   fault_calls() says how many calls there were. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NOTHING, FAIL, HALF, KILL, SIGNAL, JUMP, FULL };

static char folder[PATH_MAX];
static size_t length;
static long calls, nth;
static int what, number;
static time_t ahead;

void fault_arm(const char *path, long when, int which, int value)
{
    strncpy(folder, path, sizeof folder - 1);
    length = strlen(folder);
    calls = 0;
    nth = when;
    what = which;
    number = value;
    ahead = 0;
}

long fault_calls(void)
{
    return calls;
}

static int below(const char *path)
{
    return length && path && !strncmp(path, folder, length);
}

static int below_fd(int fd)
{
    char link[64], path[PATH_MAX];
    if (!length)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0)
        return 0;
    path[n] = 0;
    return below(path);
}

/* Counts a call; returns FAIL, HALF or NOTHING, with errno set. */
static int disturbed(int writes)
{
    calls++;
    if (nth && writes && what == FULL && calls >= nth) {
        errno = number;
        return FAIL;
    }
    if (calls != nth)
        return NOTHING;
    switch (what) {
    case FAIL:
        errno = number;
        return FAIL;
    case HALF:
        return HALF;
    case KILL:
        kill(getpid(), SIGKILL);
        return NOTHING;
    case SIGNAL:
        raise(number);
        return NOTHING;
    case JUMP:
        ahead = number;
        return NOTHING;
    }
    return NOTHING;
}

#define REAL(result, name, ...)                                   \
    static result (*real)(__VA_ARGS__);                           \
    if (!real)                                                    \
        real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define OPENS(name)                                               \
    int name(const char *path, int flags, ...)                    \
    {                                                             \
        REAL(int, name, const char *, int, ...);                  \
        va_list rest;                                             \
        va_start(rest, flags);                                    \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                             \
        if (below(path) && disturbed(flags & O_CREAT) == FAIL)    \
            return -1;                                            \
        return real(path, flags, mode);                           \
    }

OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                            \
    int name(int at, const char *path, int flags, ...)            \
    {                                                             \
        REAL(int, name, int, const char *, int, ...);             \
        va_list rest;                                             \
        va_start(rest, flags);                                    \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                             \
        if (below(path) && disturbed(flags & O_CREAT) == FAIL)    \
            return -1;                                            \
        return real(at, path, flags, mode);                       \
    }

OPENS_AT(openat)
OPENS_AT(openat64)

#define TRANSFERS(name, buffer, writes)                           \
    ssize_t name(int fd, buffer data, size_t size)                \
    {                                                             \
        REAL(ssize_t, name, int, buffer, size_t);                 \
        int found = below_fd(fd) ? disturbed(writes) : NOTHING;   \
        if (found == FAIL)                                        \
            return -1;                                            \
        return real(fd, data, found == HALF && size > 1 ? size / 2 : size); \
    }

TRANSFERS(write, const void *, 1)
TRANSFERS(read, void *, 0)

size_t fwrite(const void *data, size_t size, size_t count, FILE *stream)
{
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
    if (below_fd(fileno(stream)) && disturbed(1) == FAIL)
        return 0;
    return real(data, size, count, stream);
}

size_t fread(void *data, size_t size, size_t count, FILE *stream)
{
    REAL(size_t, fread, void *, size_t, size_t, FILE *);
    if (below_fd(fileno(stream)) && disturbed(0) == FAIL)
        return 0;
    return real(data, size, count, stream);
}

#define ON_FD(name)                                               \
    int name(int fd)                                              \
    {                                                             \
        REAL(int, name, int);                                     \
        if (below_fd(fd) && disturbed(1) == FAIL)                 \
            return -1;                                            \
        return real(fd);                                          \
    }

ON_FD(fsync)
ON_FD(fdatasync)

int rename(const char *from, const char *to)
{
    REAL(int, rename, const char *, const char *);
    if (below(from) && disturbed(0) == FAIL)
        return -1;
    return real(from, to);
}

#define ON_PATH(name)                                             \
    int name(const char *path)                                    \
    {                                                             \
        REAL(int, name, const char *);                            \
        if (below(path) && disturbed(0) == FAIL)                  \
            return -1;                                            \
        return real(path);                                        \
    }

ON_PATH(unlink)
ON_PATH(rmdir)

int mkdir(const char *path, mode_t mode)
{
    REAL(int, mkdir, const char *, mode_t);
    if (below(path) && disturbed(1) == FAIL)
        return -1;
    return real(path, mode);
}

int clock_gettime(clockid_t which, struct timespec *found)
{
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int code = real(which, found);
    if (which == CLOCK_REALTIME)
        found->tv_sec += ahead;
    return code;
}
