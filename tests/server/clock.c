/* A server's clock that can be moved alone: a container shares this machine's.
 *
 * Preloaded into every program of the server that has a libc, systemd first among them. The
 * seconds in OFFSET are added to what the kernel says the time is, and taken from the moments at
 * which systemd asks it for a wake-up. systemd learns that the clock was set by a timerfd; here by
 * a watch of that file, so that it does what it does on a real server. Programs that ask the
 * kernel without libc (Go's: the engine and restic) go on with this machine's time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define OFFSET "/clock/offset" /* eight bytes, written in place */
#define MOST 1024

static const long none = 0;
static const volatile long *offset = &none;
static long seen;
static struct { char real, armed; struct itimerspec at; } timers[MOST];

__attribute__((constructor)) static void begin(void) {
  int file = open(OFFSET, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void *at = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
  if (at != MAP_FAILED) offset = at;
  seen = *offset;
  close(file);
}

static int arm(int fd, int flags, const struct itimerspec *at, struct itimerspec *old) {
  struct itimerspec moved = *at;
  if (moved.it_value.tv_sec || moved.it_value.tv_nsec) {
    moved.it_value.tv_sec -= *offset;
    if (moved.it_value.tv_sec <= 0) moved.it_value = (struct timespec){0, 1}; /* gone by: at once */
  }
  return syscall(SYS_timerfd_settime, fd, flags, &moved, old);
}

int timerfd_create(int clock, int flags) {
  int fd = syscall(SYS_timerfd_create, clock, flags);
  if (fd >= 0 && fd < MOST) timers[fd].real = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
  if (fd >= 0 && fd < MOST) timers[fd].armed = 0;
  return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old) {
  if (flags & TFD_TIMER_CANCEL_ON_SET) {
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch >= 0 && inotify_add_watch(watch, OFFSET, IN_MODIFY) >= 0 && dup3(watch, fd, O_CLOEXEC) == fd) {
      timers[fd].real = 0;
      return close(watch);
    }
    if (watch >= 0) close(watch);
  }
  if (fd < 0 || fd >= MOST || !timers[fd].real || !(flags & TFD_TIMER_ABSTIME))
    return syscall(SYS_timerfd_settime, fd, flags, at, old);
  timers[fd].armed = 1;
  timers[fd].at = *at;
  return arm(fd, flags, at, old);
}

static void moved(void) { /* the kernel would move what waits for a moment of its clock */
  seen = *offset;
  for (int fd = 0; fd < MOST; fd++)
    if (timers[fd].real && timers[fd].armed) arm(fd, TFD_TIMER_ABSTIME, &timers[fd].at, 0);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*libc)(clockid_t, struct timespec *);
  if (!libc) libc = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int failed = libc(clock, now);
  if (seen != *offset) moved();
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *offset;
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec at;
  (void)zone;
  int failed = clock_gettime(CLOCK_REALTIME, &at);
  if (!failed && now) *now = (struct timeval){at.tv_sec, at.tv_nsec / 1000};
  return failed;
}

time_t time(time_t *now) {
  struct timespec at;
  clock_gettime(CLOCK_REALTIME_COARSE, &at);
  if (now) *now = at.tv_sec;
  return at.tv_sec;
}
