// SPDX-License-Identifier: GPL-2.0
#include <unistd.h>

#include "../kselftest.h"

#include "es1370.h"

#define CONTROL			0x00
#define CONTROL_ADC_ENABLE	0x10
#define CONTROL_44100_HZ	(30 << 16)
#define MEMORY_PAGE		0x0c
#define MEMORY_PAGE_ADC		0x0d
#define SERIAL			0x20
#define SERIAL_ADC_16BIT_STEREO	0x30
#define SERIAL_ADC_INTERRUPT	0x400
#define ADC_SAMPLE_COUNT	0x2c
#define ADC_SAMPLE_COUNT_MAX	0xffff
#define ADC_SAMPLE_COUNT_5_MS	220
#define ADC_FRAME_ADDRESS	0x30
#define ADC_FRAME_COUNT		0x34

/* Silence is all zeros. */
#define NOT_SILENCE		0xaa

int es1370_start(const struct vfio_pci *dev, __u64 iova)
{
	const struct {
		__u64 offset;
		__u32 value;
	} writes[] = {
		{ MEMORY_PAGE, MEMORY_PAGE_ADC },
		{ ADC_FRAME_ADDRESS, iova },
		/* in 32-bit words, less one */
		{ ADC_FRAME_COUNT, ES1370_RING_SIZE / 4 - 1 },
		/* A device that is emulated does no more than this at a time. */
		{ ADC_SAMPLE_COUNT, ADC_SAMPLE_COUNT_MAX },
		{ SERIAL, SERIAL_ADC_16BIT_STEREO },
		{ CONTROL, CONTROL_44100_HZ | CONTROL_ADC_ENABLE },
	};
	int ret = vfio_pci_enable_dma(dev);

	for (size_t i = 0; !ret && i < ARRAY_SIZE(writes); i++)
		ret = vfio_pci_write32(dev, writes[i].offset, writes[i].value);
	return ret;
}

int es1370_interrupt(const struct vfio_pci *dev)
{
	int ret = vfio_pci_write32(dev, SERIAL, SERIAL_ADC_16BIT_STEREO);

	if (!ret)
		ret = vfio_pci_write32(dev, ADC_SAMPLE_COUNT,
				       ADC_SAMPLE_COUNT_5_MS);
	if (!ret)
		ret = vfio_pci_write32(dev, SERIAL, SERIAL_ADC_16BIT_STEREO |
				       SERIAL_ADC_INTERRUPT);
	return ret;
}

int es1370_stop(const struct vfio_pci *dev)
{
	return vfio_pci_write32(dev, CONTROL, 0);
}

bool es1370_dma_arrives(unsigned char *ring)
{
	for (int i = 0; i < ES1370_RING_SIZE; i++)
		__atomic_store_n(&ring[i], NOT_SILENCE, __ATOMIC_RELAXED);

	/* One turn of the ring is 23 ms of sound; give up after five seconds. */
	for (int tries = 0; tries < 500; tries++) {
		int left = 0;

		for (int i = 0; i < ES1370_RING_SIZE; i++)
			left += __atomic_load_n(&ring[i], __ATOMIC_RELAXED) ==
				NOT_SILENCE;
		if (!left)
			return true;
		usleep(10000);
	}
	return false;
}
