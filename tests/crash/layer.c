/* One file layer beneath everything a process writes: preloaded, it stands between libc and whoever
   calls it (SQLite, Python, numpy, any library) and, for files below $CRASH_ROOT,

     counts    each change of a file or of a directory is one operation;
     kills     SIGKILL right before a chosen operation, or half-way through a write;
     refuses   operations fail with a chosen errno, as on a full or a broken disk;
     records   every operation, with its bytes, goes to $CRASH_TRACE (disk.py replays it).

   The numbers live in a file that is mapped by every process below, $CRASH_CONTROL (layer.py), so the
   one who watches may arm and disarm it while a server runs. Appending to $CRASH_MARKS puts a
   line among the records: what the workload says it was promised.

   Reads are not touched. Stores into a shared map are seen when the file is synced. Code that makes
   system calls by itself passes unseen: some of Rust's renames do, and disk.py notices them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, FSYNC, RENAME, EXCHANGE, LINK, UNLINK, MKDIR, RMDIR, MARK };

struct control { /* layer.py: the same fields in the same order */
    int64_t enabled, n_ops, kill_at, kill_group, torn, fail_from, fail_until, fail_errno, fail_mask, n_failed;
    int64_t lock_state;
    pthread_mutex_t lock;
};

static struct control *control;
static char root[PATH_MAX], marks[PATH_MAX];
static size_t root_length;
static int trace = -1;
static struct { dev_t dev; ino_t ino; } mapped[256];
static int n_mapped;

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("CRASH_ROOT"), *file = getenv("CRASH_CONTROL");
    if (!folder || !file) return;
    root_length = strlen(strcpy(root, folder));
    if (getenv("CRASH_MARKS")) strcpy(marks, getenv("CRASH_MARKS"));
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) abort();
    struct control *shared = (struct control *)syscall(
        SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (shared == MAP_FAILED) abort();
    syscall(SYS_close, descriptor);
    int64_t nobody = 0;
    if (__atomic_compare_exchange_n(&shared->lock_state, &nobody, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        pthread_mutexattr_t how;
        pthread_mutexattr_init(&how);
        pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&shared->lock, &how);
        __atomic_store_n(&shared->lock_state, 2, __ATOMIC_SEQ_CST);
    }
    while (__atomic_load_n(&shared->lock_state, __ATOMIC_SEQ_CST) != 2) usleep(100);
    if (getenv("CRASH_TRACE")) {
        trace = (int)syscall(SYS_openat, AT_FDCWD, getenv("CRASH_TRACE"),
                             O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (trace < 0) abort();
    }
    control = shared;
}

static int on(void) { return control && __atomic_load_n(&control->enabled, __ATOMIC_RELAXED); }

static int below(const char *path) {
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || !path[root_length]);
}

/* The absolute path of (directory descriptor, path); its parts are not resolved further. */
static int absolute(int folder, const char *path, char *out) {
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
        return 1;
    }
    char base[PATH_MAX];
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = readlink(link, base, sizeof base - 1);
        if (n < 0) return 0;
        base[n] = 0;
    }
    if (path[0]) snprintf(out, PATH_MAX, "%.2000s/%.2000s", base, path);
    else snprintf(out, PATH_MAX, "%s", base);
    return 1;
}

static int path_of(int descriptor, char *out) {
    if (!absolute(descriptor, "", out)) return 0;
    return below(out) || (marks[0] && !strcmp(out, marks));
}

static void record(int kind, int64_t at, int64_t extra, const char *one, const char *two,
                   const void *bytes, size_t n) {
    if (trace < 0) return;
    size_t first = strlen(one), second = two ? strlen(two) : 0, total = 32 + first + second + n;
    char *out = malloc(total);
    uint32_t head[8] = {(uint32_t)total, (uint32_t)kind | (uint32_t)control->n_ops << 8, 0, 0, 0, 0,
                        (uint32_t)first | (uint32_t)second << 16, (uint32_t)n};
    memcpy(head + 2, &at, 8);
    memcpy(head + 4, &extra, 8);
    memcpy(out, head, 32);
    memcpy(out + 32, one, first);
    if (two) memcpy(out + 32 + first, two, second);
    if (n) memcpy(out + 32 + first + second, bytes, n);
    if (syscall(SYS_write, trace, out, total) != (ssize_t)total) abort();
    free(out);
}

/* Begin an operation: 1 to go on, 0 with errno set when it is refused, 2 for a write to do half of. */
static int begin(int kind) {
    if (pthread_mutex_lock(&control->lock) == EOWNERDEAD) pthread_mutex_consistent(&control->lock);
    int64_t n = ++control->n_ops;
    if (control->kill_at && n >= control->kill_at) {
        if (n == control->kill_at && control->torn && kind == WRITE) return 2;
        kill(control->kill_group ? 0 : getpid(), SIGKILL);
        for (;;) pause();
    }
    if (control->fail_from && n >= control->fail_from && n < control->fail_until &&
        (control->fail_mask >> kind & 1)) {
        control->n_failed++;
        if (n == control->fail_from && control->torn && kind == WRITE) return 2;
        pthread_mutex_unlock(&control->lock);
        errno = (int)control->fail_errno;
        return 0;
    }
    return 1;
}

static void end(void) {
    int kept = errno;
    if (control->kill_at && control->n_ops >= control->kill_at) { /* after half a write */
        kill(control->kill_group ? 0 : getpid(), SIGKILL);
        for (;;) pause();
    }
    pthread_mutex_unlock(&control->lock);
    errno = kept;
}

static void record_image(int descriptor, const char *path, off_t at, off_t n) {
    if (trace < 0) return;
    int reader = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (reader < 0 || fstat(reader, &status)) abort();
    if (n < 0) n = status.st_size;
    char *bytes = malloc((size_t)n + 1);
    off_t got = 0;
    while (got < n) {
        ssize_t m = pread(reader, bytes + got, (size_t)(n - got), at + got);
        if (m <= 0) break;
        got += m;
    }
    syscall(SYS_close, reader);
    record(WRITE, at, 0, path, NULL, bytes, (size_t)got);
    free(bytes);
    (void)descriptor;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    int writes = (flags & (O_CREAT | O_TRUNC)) != 0;
    if (!on() || !writes || !absolute(folder, path, full) || !below(full))
        return (int)syscall(SYS_openat, folder, path, flags, mode);
    struct stat status;
    int there = !stat(full, &status);
    if (there && (flags & O_EXCL)) return (int)syscall(SYS_openat, folder, path, flags, mode);
    int kind = there ? TRUNCATE : CREATE;
    if (there && !((flags & O_TRUNC) && status.st_size)) return (int)syscall(SYS_openat, folder, path, flags, mode);
    if (!begin(kind)) return -1;
    int descriptor = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (descriptor >= 0) {
        int64_t inode = !fstat(descriptor, &status) ? (int64_t)status.st_ino : 0;
        record(kind, 0, inode, full, NULL, NULL, 0);
    }
    end();
    return descriptor;
}

#define MODE_OF(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE_OF(flags) return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE_OF(flags) return opened(folder, path, flags, mode); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __openat_2(int folder, const char *path, int flags) { return opened(folder, path, flags, 0); }
int __openat64_2(int folder, const char *path, int flags) { return opened(folder, path, flags, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* ---- writing -------------------------------------------------------------------------------- */

static ssize_t written(int descriptor, const void *bytes, size_t n, off64_t at, int positioned) {
    char path[PATH_MAX];
    if (!on() || !path_of(descriptor, path))
        return positioned ? syscall(SYS_pwrite64, descriptor, bytes, n, at)
                          : syscall(SYS_write, descriptor, bytes, n);
    if (!positioned) {
        struct stat status;
        at = lseek64(descriptor, 0, SEEK_CUR);
        if ((fcntl(descriptor, F_GETFL) & O_APPEND) && !fstat(descriptor, &status)) at = status.st_size;
    }
    if (!below(path)) {
        ssize_t done = syscall(SYS_write, descriptor, bytes, n);
        if (pthread_mutex_lock(&control->lock) == EOWNERDEAD) pthread_mutex_consistent(&control->lock);
        record(MARK, 0, 0, "", NULL, bytes, n);
        pthread_mutex_unlock(&control->lock);
        return done;
    }
    int go = begin(WRITE);
    if (!go) return -1;
    if (go == 2 && n > 1) n /= 2;
    ssize_t done = positioned ? syscall(SYS_pwrite64, descriptor, bytes, n, at)
                              : syscall(SYS_write, descriptor, bytes, n);
    if (done > 0) record(WRITE, at, 0, path, NULL, bytes, (size_t)done);
    end();
    return done;
}

ssize_t write(int descriptor, const void *bytes, size_t n) { return written(descriptor, bytes, n, 0, 0); }
ssize_t pwrite(int descriptor, const void *bytes, size_t n, off_t at) { return written(descriptor, bytes, n, at, 1); }
ssize_t pwrite64(int descriptor, const void *bytes, size_t n, off64_t at) { return written(descriptor, bytes, n, at, 1); }

ssize_t writev(int descriptor, const struct iovec *parts, int n) {
    char path[PATH_MAX];
    if (!on() || !path_of(descriptor, path)) return syscall(SYS_writev, descriptor, parts, n);
    ssize_t total = 0;
    for (int i = 0; i < n; i++) {
        ssize_t done = written(descriptor, parts[i].iov_base, parts[i].iov_len, 0, 0);
        if (done < 0) return total ? total : -1;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}

/* Copies inside the kernel; what they wrote is read back. */
static ssize_t copied(int descriptor, ssize_t (*copy)(void *), void *arguments) {
    char path[PATH_MAX];
    if (!on() || !path_of(descriptor, path) || !below(path)) return copy(arguments);
    off64_t at = lseek64(descriptor, 0, SEEK_CUR);
    int go = begin(WRITE);
    if (!go) return -1;
    ssize_t done = copy(arguments);
    if (done > 0) record_image(descriptor, path, at, done);
    end();
    return done;
}

struct copying { int from, to; off64_t *in, *out; size_t n; unsigned flags; };
static ssize_t send_it(void *p) { struct copying *c = p; return syscall(SYS_sendfile, c->to, c->from, c->in, c->n); }
static ssize_t copy_it(void *p) { struct copying *c = p; return syscall(SYS_copy_file_range, c->from, c->in, c->to, c->out, c->n, c->flags); }
ssize_t sendfile(int to, int from, off_t *in, size_t n) { struct copying c = {from, to, in, NULL, n, 0}; return copied(to, send_it, &c); }
ssize_t sendfile64(int to, int from, off64_t *in, size_t n) { struct copying c = {from, to, in, NULL, n, 0}; return copied(to, send_it, &c); }
ssize_t copy_file_range(int from, off64_t *in, int to, off64_t *out, size_t n, unsigned flags) { struct copying c = {from, to, in, out, n, flags}; return copied(to, copy_it, &c); }

static int resized(int descriptor, off64_t size, int grows_only, off64_t length) {
    char path[PATH_MAX];
    struct stat status;
    int counted = on() && path_of(descriptor, path) && below(path);
    if (counted && !begin(TRUNCATE)) return -1;
    int result = grows_only ? (int)syscall(SYS_fallocate, descriptor, 0, size, length)
                            : (int)syscall(SYS_ftruncate, descriptor, size);
    if (counted) {
        if (!result && !fstat(descriptor, &status)) record(TRUNCATE, status.st_size, 0, path, NULL, NULL, 0);
        end();
    }
    return result;
}

int ftruncate(int descriptor, off_t size) { return resized(descriptor, size, 0, 0); }
int ftruncate64(int descriptor, off64_t size) { return resized(descriptor, size, 0, 0); }
int fallocate(int descriptor, int mode, off_t at, off_t n) { if (mode) { errno = EOPNOTSUPP; return -1; } return resized(descriptor, at, 1, n); }
int fallocate64(int descriptor, int mode, off64_t at, off64_t n) { return fallocate(descriptor, mode, at, n); }
int posix_fallocate(int descriptor, off_t at, off_t n) { return resized(descriptor, at, 1, n) ? errno : 0; }
int posix_fallocate64(int descriptor, off64_t at, off64_t n) { return posix_fallocate(descriptor, at, n); }

int truncate(const char *name, off_t size) {
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return -1;
    int result = resized(descriptor, size, 0, 0), kept = errno;
    syscall(SYS_close, descriptor);
    errno = kept;
    return result;
}
int truncate64(const char *name, off64_t size) { return truncate(name, size); }

static void *mapping(void *where, size_t n, int protection, int flags, int descriptor, off64_t at) {
    char path[PATH_MAX];
    struct stat status;
    if (on() && descriptor >= 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED) && path_of(descriptor, path) &&
        !fstat(descriptor, &status) && n_mapped < 256) {
        mapped[n_mapped].dev = status.st_dev;
        mapped[n_mapped++].ino = status.st_ino;
    }
    return (void *)syscall(SYS_mmap, where, n, protection, flags, descriptor, at);
}
void *mmap(void *where, size_t n, int protection, int flags, int descriptor, off_t at) { return mapping(where, n, protection, flags, descriptor, at); }
void *mmap64(void *where, size_t n, int protection, int flags, int descriptor, off64_t at) { return mapping(where, n, protection, flags, descriptor, at); }

static int synced(int descriptor, long call) {
    char path[PATH_MAX];
    if (!on() || !path_of(descriptor, path) || !below(path)) return (int)syscall(call, descriptor);
    if (!begin(FSYNC)) return -1;
    struct stat status;
    memset(&status, 0, sizeof status);
    if (!fstat(descriptor, &status) && S_ISREG(status.st_mode))
        for (int i = 0; i < n_mapped; i++)
            if (mapped[i].dev == status.st_dev && mapped[i].ino == status.st_ino) {
                record_image(descriptor, path, 0, -1);
                break;
            }
    int result = (int)syscall(call, descriptor);
    if (!result) record(FSYNC, 0, (int64_t)status.st_ino, path, NULL, NULL, 0);
    end();
    return result;
}
int fsync(int descriptor) { return synced(descriptor, SYS_fsync); }
int fdatasync(int descriptor) { return synced(descriptor, SYS_fdatasync); }

/* ---- names ---------------------------------------------------------------------------------- */

static int named(int kind, int folder, const char *path, int other_folder, const char *other, int (*call)(void *), void *arguments) {
    char one[PATH_MAX], two[PATH_MAX] = "";
    if (!on() || !absolute(folder, path, one) || (other && !absolute(other_folder, other, two)) ||
        !(below(one) || (other && below(two))))
        return call(arguments);
    if (!begin(kind)) return -1;
    int result = call(arguments);
    if (!result) record(kind, 0, 0, one, other ? two : NULL, NULL, 0);
    end();
    return result;
}

struct names { int folder, other_folder; const char *path, *other; int flags; mode_t mode; };
static int rename_it(void *p) { struct names *a = p; return (int)syscall(SYS_renameat2, a->folder, a->path, a->other_folder, a->other, a->flags); }
static int link_it(void *p) { struct names *a = p; return (int)syscall(SYS_linkat, a->folder, a->path, a->other_folder, a->other, a->flags); }
static int unlink_it(void *p) { struct names *a = p; return (int)syscall(SYS_unlinkat, a->folder, a->path, a->flags); }
static int mkdir_it(void *p) { struct names *a = p; return (int)syscall(SYS_mkdirat, a->folder, a->path, a->mode); }

int renameat2(int folder, const char *path, int other_folder, const char *other, unsigned flags) {
    struct names a = {folder, other_folder, path, other, (int)flags, 0};
    return named(flags & RENAME_EXCHANGE ? EXCHANGE : RENAME, folder, path, other_folder, other, rename_it, &a);
}
int renameat(int folder, const char *path, int other_folder, const char *other) { return renameat2(folder, path, other_folder, other, 0); }
int rename(const char *path, const char *other) { return renameat2(AT_FDCWD, path, AT_FDCWD, other, 0); }
int linkat(int folder, const char *path, int other_folder, const char *other, int flags) {
    struct names a = {folder, other_folder, path, other, flags, 0};
    return named(LINK, folder, path, other_folder, other, link_it, &a);
}
int link(const char *path, const char *other) { return linkat(AT_FDCWD, path, AT_FDCWD, other, 0); }
int unlinkat(int folder, const char *path, int flags) {
    struct names a = {folder, 0, path, NULL, flags, 0};
    return named(flags & AT_REMOVEDIR ? RMDIR : UNLINK, folder, path, 0, NULL, unlink_it, &a);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    struct stat status;
    if (!lstat(path, &status) && S_ISDIR(status.st_mode)) return rmdir(path);
    return unlink(path);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    struct names a = {folder, 0, path, NULL, 0, mode};
    return named(MKDIR, folder, path, 0, NULL, mkdir_it, &a);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
