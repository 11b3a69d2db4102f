// SPDX-License-Identifier: GPL-2.0
/*
 * kexec [-p] KERNEL INITRD COMMAND_LINE: boots another kernel from this one at once. Devices are shut
 * down; programs and file systems are not. With -p that kernel is kept in the memory reserved for it
 * (crashkernel=) and is started when this one crashes, which shuts nothing down.
 */

#include <fcntl.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int kernel, initrd, on_crash;

	on_crash = argc > 1 && !strcmp(argv[1], "-p");
	argc -= on_crash;
	argv += on_crash;
	if (argc != 4) {
		fprintf(stderr, "usage: kexec [-p] KERNEL INITRD COMMAND_LINE\n");
		return 2;
	}

	kernel = open(argv[1], O_RDONLY);
	initrd = open(argv[2], O_RDONLY);
	if (kernel < 0 || initrd < 0 ||
	    syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3],
		    on_crash ? KEXEC_FILE_ON_CRASH : 0UL)) {
		perror("kexec");
		return 1;
	}
	if (on_crash)
		return 0;
	reboot(RB_KEXEC);
	perror("kexec");
	return 1;
}
