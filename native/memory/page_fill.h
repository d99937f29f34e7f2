// Brings pages in before anybody touches them: those of a list, or all.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "memory/lazy_memory.h"
#include "memory/page_source.h"
#include "sys/thread.h"

namespace tsvmm {

std::string describe_page_failure(uint64_t page, const Failure& failure);

// A thread that is at most one block in the way of a fault. No niceness: it would hold the memory's lock for long where
// the vCPUs leave it no time. All methods but pages() belong to the owner.
class PagePrefetch {
 public:
  PagePrefetch(LazyMemory& memory, PageSource& source) : memory_(memory), source_(source) {}
  ~PagePrefetch() { cancel_and_join(); }

  // Once. What cannot be read is left to the fault that asks for it.
  Result<> start(std::vector<uint32_t> list);
  void cancel_and_join();
  uint64_t pages() const { return pages_; }

 private:
  void run(const std::vector<uint32_t>& list);

  LazyMemory& memory_;
  PageSource& source_;
  std::atomic<bool> is_cancelled_ = false;
  std::atomic<uint64_t> pages_ = 0;
  std::optional<Thread> thread_;
};

struct FillEnd {
  bool is_complete;
  std::optional<std::string> failure;
};

// Likewise, for everything; in the order of the image.
class PageFill {
 public:
  PageFill(LazyMemory& memory, PageSource& source) : memory_(memory), source_(source) {}
  ~PageFill();

  // `on_end` is called once, from the thread. 0: as fast as can be. EBUSY while one is under way.
  Result<> start(uint64_t bytes_per_second, std::function<void(const FillEnd&)> on_end);
  // Idempotent; the end follows soon.
  void cancel();
  void join();
  uint64_t pages() const { return pages_; }

 private:
  FillEnd run(uint64_t bytes_per_second);
  // False where it is cancelled meanwhile.
  bool pace(std::chrono::steady_clock::time_point until);

  LazyMemory& memory_;
  PageSource& source_;
  std::mutex mutex_;
  std::condition_variable cancelled_;
  bool is_cancelled_ = false;  // guarded by mutex_
  std::atomic<bool> is_running_ = false;
  std::atomic<uint64_t> pages_ = 0;
  std::optional<Thread> thread_;
};

}  // namespace tsvmm
