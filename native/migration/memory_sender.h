// Sends guest memory over several connections, in passes, while the guest runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/image_space.h"
#include "memory/page_bitmap.h"
#include "migration/rate_limit.h"
#include "migration/rest_pages.h"
#include "sys/thread.h"
#include "sys/unique_fd.h"

namespace tsvmm {

class SendConnection;

// Since the sender was made.
struct SendCounters {
  std::atomic<uint64_t> pages_done = 0;   // of the pass
  std::atomic<uint64_t> pages_total = 0;  // of the pass
  std::atomic<uint64_t> zero = 0;
  std::atomic<uint64_t> same = 0;  // written, but not changed since they were sent
  std::atomic<uint64_t> delta = 0;
  std::atomic<uint64_t> whole = 0;
};

// What its threads share.
struct SendShared {
  explicit SendShared(ImageSpace its_space) : space(std::move(its_space)) {}

  ImageSpace space;
  RateLimit limit = {};
  SendCounters counters = {};
};

// All methods but cut() belong to the owner.
class MemorySender {
 public:
  struct Options {
    std::shared_ptr<const RamMap> memory = {};
    std::vector<UniqueFd> sockets = {};
    std::chrono::milliseconds stall{0};
    uint64_t delta_bytes = 0;  // of what was sent, kept to send changes only
    uint64_t bytes_per_second = 0;
  };
  // EINVAL without RAM or sockets. The ranges are those of now.
  static Result<std::unique_ptr<MemorySender>> create(Options options);
  ~MemorySender();
  MemorySender(const MemorySender&) = delete;
  MemorySender& operator=(const MemorySender&) = delete;

  enum class Pass {
    kFirst,  // what is zero is that there already
    kAgain,  // only what is other than what was sent
    kRest,   // each page, and nothing that was sent before counts: all that is left of `rest`, also for others to take
  };
  // `on_end` is called once, from one of the threads, when the receiver has it all in its memory; after a failure all
  // connections are cut. EBUSY during another pass.
  Result<> send(Pass pass, const PageBitmap& pages, std::function<void(Result<>)> on_end);
  Result<> send_rest(std::shared_ptr<RestPages> rest, std::function<void(Result<>)> on_end);

  // What the receiver asks for over this connection is sent over it at once, where it is left of `rest`. Until the
  // connection ends, which is told by a failing send_rest() at the latest. Once.
  Result<> answer(UniqueFd socket, std::chrono::milliseconds stall, std::shared_ptr<RestPages> rest);

  uint64_t pages() const { return shared_->space.pages(); }
  const SendCounters& counters() const { return shared_->counters; }
  uint64_t bytes_sent() const;
  void set_limit(uint64_t bytes_per_second) { shared_->limit.set(bytes_per_second); }
  // Any thread. What is under way ends with ECANCELED.
  void cut();

 private:
  MemorySender(std::shared_ptr<SendShared> shared, std::vector<std::unique_ptr<SendConnection>> connections);
  Result<> start_threads();
  void run(SendConnection& connection, unsigned index);
  Result<> begin(Pass pass, std::shared_ptr<RestPages> pages, uint64_t total, std::function<void(Result<>)> on_end);
  void finish(const Result<>& sent);

  const std::shared_ptr<SendShared> shared_;
  const std::vector<std::unique_ptr<SendConnection>> connections_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  bool is_quitting_ = false;
  uint64_t pass_number_ = 0;
  Pass pass_ = Pass::kFirst;
  std::shared_ptr<RestPages> pass_pages_;
  size_t busy_ = 0;
  std::optional<Failure> failure_;
  std::function<void(Result<>)> on_end_;
  std::unique_ptr<SendConnection> answering_;
  std::vector<Thread> threads_;
};

}  // namespace tsvmm
