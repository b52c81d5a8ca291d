/* Preloaded into a process: its n-th call that changes a file below a folder ends the process, or fails.
   fault_arm(folder, n, mode) begins to count; mode 0 kills before the call (a write is made by half), an errno makes it fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct shared {
    int count;
    char what[64];
};
static struct shared *seen;
static char folder[PATH_MAX];
static int nth = -1, failing;

__attribute__((constructor)) static void begin(void)
{
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); /* children tell by it */
}

void fault_arm(const char *path, int n, int mode)
{
    snprintf(folder, sizeof folder, "%s", path);
    seen->count = 0;
    seen->what[0] = 0;
    nth = n;
    failing = mode;
}

int fault_count(void) { return seen->count; }
const char *fault_what(void) { return seen->what; }

static int below(const char *path) { return path[0] != '/' || strncmp(path, folder, strlen(folder)) == 0; }

static int is_ours(int fd)
{
    char name[64], path[PATH_MAX];
    ssize_t length;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    length = readlink(name, path, sizeof path - 1);
    if (length <= 0 || path[0] != '/')
        return 0;
    path[length] = 0;
    return below(path);
}

/* Whether this call is the one; then it fails, unless it has killed the process. */
static int due(const char *what, int fd, const void *data, size_t size)
{
    if (__atomic_add_fetch(&seen->count, 1, __ATOMIC_SEQ_CST) != nth)
        return 0;
    snprintf(seen->what, sizeof seen->what, "%s", what);
    if (failing) {
        errno = failing;
        return 1;
    }
    if (size) {
        ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        if (real(fd, data, size / 2) < 0)
            _exit(99);
    }
    kill(getpid(), SIGKILL);
    return 1;
}

/* A function that fails if the call is due: its result, name, parameters, arguments, whether it changes a file below the
   folder, what the test is told, and the result of a failure. */
#define FAULTY(type, name, parameters, arguments, changes, what, fd, data, size, failure)                                \
    type name parameters                                                                                                 \
    {                                                                                                                    \
        static type(*real) parameters;                                                                                   \
        if (!real)                                                                                                       \
            real = dlsym(RTLD_NEXT, #name);                                                                              \
        return nth >= 0 && (changes) && due(what, fd, data, size) ? failure : real arguments;                            \
    }
#define ON_FILE(type, name, parameters, arguments, what)                                                                 \
    FAULTY(type, name, parameters, arguments, is_ours(fd), what, fd, NULL, 0, -1)
#define ON_PATH(name, parameters, arguments, what)                                                                       \
    FAULTY(int, name, parameters, arguments, below(path), what, -1, NULL, 0, -1)

FAULTY(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), is_ours(fd), "write", fd, data, size, -1)
ON_FILE(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), "writev")
ON_FILE(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), "pwrite")
ON_FILE(ssize_t, copy_file_range, (int from, off64_t *start, int fd, off64_t *at, size_t size, unsigned flags),
        (from, start, fd, at, size, flags), "copy_file_range")
ON_FILE(ssize_t, sendfile64, (int fd, int from, off64_t *start, size_t size), (fd, from, start, size), "sendfile")
ON_FILE(int, fsync, (int fd), (fd), "fsync")
ON_FILE(int, ftruncate64, (int fd, off64_t size), (fd, size), "ftruncate")
ON_PATH(rename, (const char *from, const char *path), (from, path), "rename")
ON_PATH(renameat, (int old, const char *from, int new, const char *path), (old, from, new, path), "rename")
ON_PATH(unlink, (const char *path), (path), "unlink")
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode), "mkdir")
FAULTY(FILE *, fopen64, (const char *path, const char *mode), (path, mode), mode[0] != 'r' && below(path), "fopen", -1, NULL,
       0, NULL)
FAULTY(FILE *, fopen, (const char *path, const char *mode), (path, mode), mode[0] != 'r' && below(path), "fopen", -1, NULL, 0,
       NULL)

#define OPEN(name)                                                                                                       \
    int name(const char *path, int flags, ...)                                                                           \
    {                                                                                                                    \
        static int (*real)(const char *, int, ...);                                                                      \
        if (!real)                                                                                                       \
            real = dlsym(RTLD_NEXT, #name);                                                                              \
        va_list rest;                                                                                                    \
        mode_t mode;                                                                                                     \
        va_start(rest, flags);                                                                                           \
        mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                                 \
        va_end(rest);                                                                                                    \
        if (nth >= 0 && (flags & O_ACCMODE) != O_RDONLY && below(path) && due("open", -1, NULL, 0))                      \
            return -1;                                                                                                   \
        return real(path, flags, mode);                                                                                  \
    }
OPEN(open)
OPEN(open64)
