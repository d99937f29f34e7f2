// What a disk's file or device can do, and the lock that keeps others from it.
#pragma once

#include <cstdint>

#include "sys/result.h"

namespace tsvmm {

struct DiskProbe {
  uint64_t size = 0;  // bytes
  // Devices: the logical block. Files: 512, with O_DIRECT too: what the guest sees must not depend on how it is opened.
  uint32_t logical_block = 512;
  bool discard = false;
  bool write_zeroes = false;
};

// Changes nothing on the disk. ENOTBLK for what is neither a regular file nor a block device.
Result<DiskProbe> probe_disk(int fd);

// An open file description lock on the whole file; false where another one is in the way. It goes with the description.
Result<bool> lock_file(int fd, bool exclusive);
Result<> unlock_file(int fd);

// What is kept of it in this host's memory, and is on the disk as well, is read anew.
Result<> forget_cached(int fd);

}  // namespace tsvmm
