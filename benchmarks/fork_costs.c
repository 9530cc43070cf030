/* What fork costs by the page: fork_costs PAGES TOUCHED HUGE AT_ONCE prints the microseconds of one fork, exit and
 * wait, of a process with PAGES pages of memory of its own, whose child writes to the first TOUCHED of them. HUGE=1:
 * in huge pages. AT_ONCE=1: the child first asks for those pages in one call (MADV_POPULATE_WRITE).
 * Compiled and run by judge_profile.py. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, HUGE_PAGE = 2 << 20, FORKS = 500 };
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  size_t pages = atol(argv[1]), touched = atol(argv[2]);
  int huge = atoi(argv[3]), at_once = atoi(argv[4]);
  char *memory = mmap(0, pages * PAGE + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  memory = (char *)(((uintptr_t)memory + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
  if (madvise(memory, pages * PAGE, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE)) perror("madvise");
  memset(memory, 1, pages * PAGE);
  double started = now_us();
  for (int i = 0; i < FORKS; i++) {
    pid_t child = fork();
    if (child < 0) return 1;
    if (!child) {
      if (at_once && madvise(memory, touched * PAGE, MADV_POPULATE_WRITE)) _exit(1);
      for (size_t page = 0; page < touched; page++) memory[page * PAGE] = 2;
      _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (status) return 1;
  }
  printf("%.1f\n", (now_us() - started) / FORKS);
}
