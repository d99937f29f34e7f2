// Restores guest memory on demand: threads of its own bring in the page that somebody touches (a vCPU, an engine, the
// JavaScript thread) while the toucher waits in the kernel. Nothing else has to run for that.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "memory/block_reader.h"
#include "memory/lazy_memory.h"
#include "memory/page_fill.h"
#include "memory/page_source.h"
#include "memory/paging_failure.h"
#include "sys/event_fd.h"
#include "sys/thread.h"

namespace tsvmm {

struct PageServerOptions {
  std::shared_ptr<const RamMap> memory = {};
  std::shared_ptr<PageSource> source = {};
  // A page cannot be had. Called once, from one of the server's threads. Whoever touches such a page waits until
  // abandon(), and at most for `grace`; only `owner_thread`, which would have to call that, is given zeroes at once.
  std::function<void(const std::string& reason)> on_failure = {};
  int owner_thread = 0;
  std::chrono::milliseconds grace{5000};
  // Image pages to bring in at once, in this order; what is no page of the image is passed over.
  std::vector<uint32_t> prefetch = {};
  unsigned threads = 2;
};

struct PageServerCounters {
  uint64_t faults;
  uint64_t served;      // image pages that faults brought in, neighbours included
  uint64_t prefetched;  // and prefetch
  uint64_t filled;      // and fill
  uint64_t missing;     // neither brought in yet nor known to be zero
};

// All methods belong to the owner, who does not touch guest memory during the destructor.
class PageServer {
 public:
  // Nobody may have touched the memory yet: what is there stays as it is. Fails as LazyMemory::create() does, and where
  // no thread can be had.
  static Result<std::unique_ptr<PageServer>> start(PageServerOptions options);
  // Whatever is missing is zero from then on.
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  // Brings in all the rest in the background; then the server ends, and the memory is like any other. `on_end` is
  // called once, from another thread: with false where fill was cancelled, a page failed, or the server goes. 0: as
  // fast as can be. EBUSY while one is under way.
  Result<> fill(uint64_t bytes_per_second, std::function<void(bool is_complete)> on_end);
  void cancel_fill() { fill_.cancel(); }

  // Nobody waits any more: whatever is missing is zero from now on. The machine has to be given up for that.
  void abandon();

  // The image pages that were missing when they were touched, in that order; the first million.
  std::vector<uint32_t> recorded() const;
  PageServerCounters counters() const;

 private:
  PageServer(PageServerOptions options, std::unique_ptr<LazyMemory> memory, EventFd kick);

  Result<> start_threads();
  void serve();
  void serve(BlockReader& reader, const PageFault& fault);
  void fail(const PageFault& fault, const Failure& failure);
  void give_up(const PageFault& fault);
  // Of an image page; false where its contents are known not to be had.
  bool note_touch(uint64_t page);
  void quit();

  const PageServerOptions options_;
  const std::unique_ptr<LazyMemory> memory_;
  const EventFd kick_;
  PagingFailure failure_;
  std::atomic<bool> is_quitting_ = false;
  std::atomic<unsigned> running_ = 0;
  std::atomic<uint64_t> faults_ = 0;
  std::atomic<uint64_t> served_ = 0;
  mutable std::mutex mutex_;
  // Guarded by mutex_. One touch may be told of many times: the kernel repeats a fault of its own whose thread has a
  // signal pending, for as long as the page is missing.
  std::vector<uint32_t> recorded_;
  std::vector<bool> touched_;
  std::set<uint64_t> bad_;
  PagePrefetch prefetch_;
  PageFill fill_;
  std::vector<Thread> threads_;
};

}  // namespace tsvmm
