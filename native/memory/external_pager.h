// Restores guest memory on demand through another process, over Firecracker's protocol (docs/snapshotting/
// handling-page-faults-on-snapshot-resume.md): the process listens at a Unix socket, gets the userfaultfd and, as JSON,
// where in our address space which part of the memory image belongs; all else is its own.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "memory/lazy_memory.h"
#include "memory/paging_failure.h"
#include "sys/event_fd.h"
#include "sys/thread.h"
#include "sys/unique_fd.h"

namespace tsvmm {

struct ExternalPagerOptions {
  std::shared_ptr<const RamMap> memory = {};
  std::string socket_path = {};
  // The other process is gone. Called once, from a thread of the pager's. Whoever touches a missing page then waits
  // until abandon(), and at most for `grace`.
  std::function<void(const std::string& reason)> on_failure = {};
  std::chrono::milliseconds grace{5000};
  // A process that lives on without its end of the socket is taken for gone when a fault has been waiting, at each look
  // in turn, for this long.
  std::chrono::milliseconds stall{10000};
};

// All methods belong to the owner, who does not touch guest memory during the destructor.
class ExternalPager {
 public:
  // Besides the failures of LazyMemory::create(): those of connect() and sendmsg(), ENAMETOOLONG.
  static Result<std::unique_ptr<ExternalPager>> start(const ExternalPagerOptions& options);
  // Whatever is missing is zero from then on.
  ~ExternalPager();
  ExternalPager(const ExternalPager&) = delete;
  ExternalPager& operator=(const ExternalPager&) = delete;

  // Nobody waits any more: whatever is missing is zero from now on.
  void abandon() { memory_->release(); }

 private:
  ExternalPager(const ExternalPagerOptions& options, std::unique_ptr<LazyMemory> memory, UniqueFd socket, EventFd kick);

  void watch();
  void await_end();
  void await_stall();
  void drain_events();
  uint64_t waiting_faults() const;

  const std::unique_ptr<LazyMemory> memory_;
  const UniqueFd socket_;
  const UniqueFd process_;  // of the other side; not open where the kernel cannot tell
  const EventFd kick_;
  const std::chrono::milliseconds stall_;
  PagingFailure failure_;
  std::atomic<bool> is_quitting_ = false;
  std::optional<Thread> thread_;
};

// The array that the other process gets, offsets being those of the image.
std::string describe_mappings(const PagingSpace& space);

}  // namespace tsvmm
