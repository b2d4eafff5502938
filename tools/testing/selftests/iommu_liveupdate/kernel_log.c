// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kernel_log.h"

int kernel_log_open(struct kernel_log *log)
{
	memset(log, 0, sizeof(*log));
	log->fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	return log->fd < 0 ? -errno : 0;
}

static int is_warning(const char *message)
{
	return strstr(message, "WARNING:") || strstr(message, "BUG:") ||
	       strstr(message, "refcount_t:") || strstr(message, "Call Trace:");
}

void kernel_log_read(struct kernel_log *log)
{
	char message[1024];
	ssize_t len;

	for (;;) {
		len = read(log->fd, message, sizeof(message) - 1);
		/* Messages that were overwritten before they were read */
		if (len < 0 && errno == EPIPE)
			continue;
		if (len <= 0)
			return;
		message[len] = '\0';
		log->dma_faults += strstr(message, "DMAR:") &&
				   strstr(message, "fault addr");
		log->warnings += !!is_warning(message);
	}
}

void kernel_log_wait_for_fault(struct kernel_log *log)
{
	const unsigned int before = log->dma_faults;

	for (int tries = 0; tries < 1000; tries++) {
		kernel_log_read(log);
		if (log->dma_faults != before)
			return;
		usleep(10000);
	}
}
