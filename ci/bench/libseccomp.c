/* Builds a filter with libseccomp and installs it, and prints how long each took: microseconds to build, to install, and the
 * number of instructions. The rules come on stdin, one a line: action and name as numbers and a word, then four numbers for
 * each condition (argument, operator, two values). The interface is declared here, so that only the library itself is needed.
 *
 * cc -O2 -o libseccomp-filter libseccomp.c -l:libseccomp.so.2 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct condition { unsigned argument; int operator; uint64_t value, second; };
struct rule { uint32_t action; char name[64]; unsigned conditions; struct condition condition[6]; };

extern void *seccomp_init(uint32_t otherwise);
extern int seccomp_arch_add(void *filter, uint32_t arch);
extern int seccomp_syscall_resolve_name(const char *name);
extern int seccomp_rule_add_array(void *filter, uint32_t action, int number, unsigned count, const struct condition *conditions);
extern int seccomp_export_bpf(void *filter, int file);

static double microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

int main(void)
{
    static struct rule rules[4096];
    static uint32_t arches[16];
    uint32_t otherwise = 0;
    size_t count = 0, arch_count = 0;
    char line[512];
    while (fgets(line, sizeof line, stdin)) {
        char *word = strtok(line, " \n");
        if (!word)
            continue;
        if (!strcmp(word, "default")) {
            otherwise = strtoul(strtok(NULL, " \n"), NULL, 10);
        } else if (!strcmp(word, "arch") && arch_count < 16) {
            arches[arch_count++] = strtoul(strtok(NULL, " \n"), NULL, 10);
        } else if (count < 4096) {
            struct rule *r = &rules[count++];
            r->action = strtoul(word, NULL, 10);
            snprintf(r->name, sizeof r->name, "%s", strtok(NULL, " \n"));
            while ((word = strtok(NULL, " \n")) && r->conditions < 6) {
                struct condition *c = &r->condition[r->conditions++];
                c->argument = strtoul(word, NULL, 10);
                c->operator = strtol(strtok(NULL, " \n"), NULL, 10);
                c->value = strtoull(strtok(NULL, " \n"), NULL, 10);
                c->second = strtoull(strtok(NULL, " \n"), NULL, 10);
            }
        }
    }

    double begun = microseconds();
    void *filter = seccomp_init(otherwise);
    if (!filter)
        return 1;
    for (size_t i = 0; i < arch_count; i++)
        seccomp_arch_add(filter, arches[i]);
    for (size_t i = 0; i < count; i++) {
        int number = seccomp_syscall_resolve_name(rules[i].name);
        /* A name that this version does not know is left out, as runtimes do. */
        if (number != -1 && rules[i].action != otherwise)
            seccomp_rule_add_array(filter, rules[i].action, number, rules[i].conditions, rules[i].condition);
    }
    int file = memfd_create("filter", 0);
    if (file < 0 || seccomp_export_bpf(filter, file))
        return 2;
    double built = microseconds();
    struct stat st;
    fstat(file, &st);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    /* Loading generates the program a second time: only installing is wanted. */
    size_t length = st.st_size / 8;
    struct { unsigned short length; void *program; } header = { length, malloc(st.st_size) };
    if (pread(file, header.program, st.st_size, 0) != st.st_size)
        return 3;
    double ready = microseconds();
    if (prctl(PR_SET_SECCOMP, 2, &header, 0, 0))
        return 4;
    double installed = microseconds();
    printf("%.1f %.1f %zu\n", built - begun, installed - ready, length);
    return 0;
}
