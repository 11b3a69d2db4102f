// SPDX-License-Identifier: GPL-2.0
/*
 * kexec KERNEL INITRD COMMAND_LINE: boots another kernel from this one at once. Devices are shut
 * down; programs and file systems are not.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int kernel, initrd;

	if (argc != 4) {
		fprintf(stderr, "usage: kexec KERNEL INITRD COMMAND_LINE\n");
		return 2;
	}

	kernel = open(argv[1], O_RDONLY);
	initrd = open(argv[2], O_RDONLY);
	if (kernel < 0 || initrd < 0 ||
	    syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3], 0UL)) {
		perror("kexec");
		return 1;
	}
	reboot(RB_KEXEC);
	perror("kexec");
	return 1;
}
