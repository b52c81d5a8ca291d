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

void fault_arm(const char *place, int n, int mode)
{
    snprintf(folder, sizeof folder, "%s", place);
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

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    return nth >= 0 && is_ours(fd) && due("write", fd, data, size) ? -1 : real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return nth >= 0 && is_ours(fd) && due("writev", fd, NULL, 0) ? -1 : real(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place)
{
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return nth >= 0 && is_ours(fd) && due("pwrite", fd, NULL, 0) ? -1 : real(fd, data, size, place);
}

ssize_t copy_file_range(int from, off64_t *start, int fd, off64_t *place, size_t size, unsigned flags)
{
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    return nth >= 0 && is_ours(fd) && due("copy_file_range", fd, NULL, 0) ? -1 : real(from, start, fd, place, size, flags);
}

ssize_t sendfile64(int fd, int from, off64_t *start, size_t size)
{
    REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
    return nth >= 0 && is_ours(fd) && due("sendfile", fd, NULL, 0) ? -1 : real(fd, from, start, size);
}

int fsync(int fd)
{
    REAL(int, "fsync", int);
    return nth >= 0 && is_ours(fd) && due("fsync", fd, NULL, 0) ? -1 : real(fd);
}

int ftruncate64(int fd, off64_t size)
{
    REAL(int, "ftruncate64", int, off64_t);
    return nth >= 0 && is_ours(fd) && due("ftruncate", fd, NULL, 0) ? -1 : real(fd, size);
}

int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    return nth >= 0 && below(to) && due("rename", -1, NULL, 0) ? -1 : real(from, to);
}

int renameat(int old, const char *from, int new, const char *to)
{
    REAL(int, "renameat", int, const char *, int, const char *);
    return nth >= 0 && below(to) && due("rename", -1, NULL, 0) ? -1 : real(old, from, new, to);
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    return nth >= 0 && below(path) && due("unlink", -1, NULL, 0) ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    return nth >= 0 && below(path) && due("mkdir", -1, NULL, 0) ? -1 : real(path, mode);
}

#define OPEN(name)                                                                                                       \
    int name(const char *path, int flags, ...)                                                                           \
    {                                                                                                                    \
        REAL(int, #name, const char *, int, ...);                                                                        \
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

FILE *fopen64(const char *path, const char *mode)
{
    REAL(FILE *, "fopen64", const char *, const char *);
    return nth >= 0 && mode[0] != 'r' && below(path) && due("fopen", -1, NULL, 0) ? NULL : real(path, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    REAL(FILE *, "fopen", const char *, const char *);
    return nth >= 0 && mode[0] != 'r' && below(path) && due("fopen", -1, NULL, 0) ? NULL : real(path, mode);
}
