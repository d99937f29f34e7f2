// The kernel's KVM interface. Everybody includes it through here: older kernel headers declare flexible arrays behind
// an empty structure, which has no size in C but one byte in C++, and so shift the array and spoil the ioctl's number.
#pragma once

#include <linux/stddef.h>

#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(type, name) __extension__ type name[0]

#include <linux/kvm.h>

static_assert(sizeof(kvm_cpuid2) == 8);
static_assert(sizeof(kvm_msrs) == 8);
static_assert(sizeof(kvm_msr_list) == 4);
static_assert(sizeof(kvm_irq_routing) == 8);
