// An io_uring of one thread: disk steps in, results out, and the events that end its sleep.
#pragma once

#include <liburing.h>

#include <cstdint>

#include "disk/disk_access.h"
#include "sys/result.h"

namespace tsvmm {

// All methods belong to the thread that called open().
class IoRing {
 public:
  struct Completion {
    void* owner;  // as given to add()
    int64_t result;
  };

  IoRing() = default;
  ~IoRing();
  IoRing(const IoRing&) = delete;
  IoRing& operator=(const IoRing&) = delete;

  // `in_flight`: at most so many steps at a time. ENOSYS, EPERM, ENOMEM: the host has none for us.
  Result<> open(unsigned in_flight);
  bool is_open() const { return open_; }

  // Ends wait() whenever `fd`, an event counter, is signalled. It is not read: every signal counts (edge-triggered).
  void watch(int fd);
  void add(const DiskStep& step, void* owner);
  // Hands what was added to the kernel.
  void submit();
  // Submits and sleeps until a step is done or a watched event was signalled, for so long at most; 0: however long.
  void wait(uint64_t most_ns = 0);
  // The next result; false where there is none.
  bool take(Completion& completion);

 private:
  io_uring_sqe* next_entry();
  void arm(int fd);

  io_uring ring_{};
  bool open_ = false;
};

}  // namespace tsvmm
