/* SPDX-License-Identifier: MIT
 *
 * The first process of an emulated computer: runs /edge-digits on what is beside it, says how that ended, and switches
 * the computer off. Static; tests/boot.py puts it on the initial RAM disk. */
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run a program and print its exit status. */
static void run(char *const *arguments)
{
    int status = -1;
    const pid_t process = fork();

    if (process == 0) {
        execv(arguments[0], arguments);
        _exit(127);
    }
    waitpid(process, &status, 0);
    printf("EXIT %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    fflush(stdout);
}

int main(void)
{
    char *self_test[] = {"/edge-digits", "--self-test", NULL};
    char *recognize[] = {"/edge-digits", "--json", "-q", "-i", "/recording.wav", NULL};
    struct utsname about;

    mount("proc", "/proc", "proc", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    uname(&about);
    printf("BOOTED %s %s\n", about.machine, about.release);
    fflush(stdout);
    run(self_test);
    run(recognize);
    sync();
    reboot(RB_POWER_OFF);
    for (;;) {
        pause();
    }
}
