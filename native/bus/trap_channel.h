// The mailbox between vCPU threads and JavaScript: one slot a vCPU for traps, one ring a vCPU for posted writes, and
// the JavaScript side that serves them all.
//
// A vCPU spins for its answer before it sleeps; after answering, the JavaScript side lingers for the next request
// before it goes back to its event loop. Both adapt, as KVM's halt polling does: a wait that paid off lengthens, one
// that did not shortens, and an idle guest costs nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "bus/address_space.h"
#include "bus/posted_ring.h"

namespace tsvmm {

struct VcpuStop {
  enum class Kind { kShutdown, kInternalError, kFailEntry, kSystemEvent, kRunError, kUnhandled };
  Kind kind;
  std::vector<uint64_t> detail;
};

struct TrapRequest {
  enum class Kind : uint32_t { kRead, kWrite, kEndOfInterrupt };
  Kind kind;
  uint32_t window = 0;  // end of interrupt: the vector
  uint32_t offset = 0;
  uint32_t width = 0;
  uint32_t value = 0;
};

// JavaScript thread: what requests are handed to.
class TrapHandler {
 public:
  virtual ~TrapHandler() = default;
  // Returns the answer of a read; anything otherwise. False in `ok` where the handler failed: the machine stops then.
  virtual uint32_t trap(const TrapRequest& request, bool& ok) = 0;
  virtual void posted(const PostedWrite& write, bool& ok) = 0;
};

class TrapChannel;

// A vCPU's end. All methods belong to its thread unless said otherwise.
class TrapPort final : public TrapSink {
 public:
  explicit TrapPort(TrapChannel& channel) : channel_(channel) {}

  uint32_t read(const Window& window, uint32_t offset, uint32_t width) override;
  void write(const Window& window, uint32_t offset, uint32_t width, uint32_t value) override;
  void post(const Window& window, uint32_t offset, uint32_t width, uint32_t value) override;
  void end_of_interrupt(uint32_t vector);

  AccessCounters& counters() { return counters_; }
  uint64_t waits() const { return waits_.load(std::memory_order_relaxed); }

 private:
  friend class TrapChannel;
  enum State : uint32_t { kIdle, kRequested, kAnswered };

  uint32_t ask(const TrapRequest& request);
  // JavaScript thread.
  void reply(uint32_t answer);

  TrapChannel& channel_;
  AccessCounters counters_;
  std::atomic<uint64_t> waits_ = 0;
  uint64_t spin_ns_ = 0;
  PostedRing ring_;
  alignas(64) std::atomic<uint32_t> state_ = kIdle;
  TrapRequest request_{};
  uint32_t answer_ = 0;

  // JavaScript thread, within a round of serving: whether the request is answered in it, and how many posted writes are
  // to be delivered at least.
  bool is_due_ = false;
  uint32_t due_writes_ = 0;
};

class TrapChannel {
 public:
  // `wake` is called from vCPU threads when the JavaScript thread must come and serve(). It returns false where that
  // thread had been called already.
  explicit TrapChannel(std::function<bool()> wake);

  // JavaScript thread. Ports live as long as the channel.
  TrapPort& add_port();

  // JavaScript thread: answers what has come, lingers, and returns once nothing more does or its time is up (then it
  // has called `wake` itself). False where the handler failed; every request is answered nevertheless.
  bool serve(TrapHandler& handler);

  // JavaScript thread, after serve(): posted writes came, and more may come without waking anybody. The caller must
  // serve() again after kCollectMs.
  bool is_collecting() const { return attention_.load(std::memory_order_relaxed) == kCollecting; }
  static constexpr uint32_t kCollectMs = 2;

  // JavaScript thread: answers what has come, once. What a vCPU posted before it parked is delivered then.
  bool deliver_pending(TrapHandler& handler);

  // JavaScript thread: from now on requests are answered at once with all ones, and nobody is woken. For close.
  void shut();

  uint64_t wakeups() const { return wakeups_.load(std::memory_order_relaxed); }

 private:
  friend class TrapPort;

  // What the JavaScript thread is doing: gone, gone but coming back for posted writes by itself, or looking.
  enum Attention : uint32_t { kAsleep, kCollecting, kAttentive };

  // vCPU threads, after publishing a request, or a posted write (with how many are in the ring).
  void announce_request();
  void announce_posted(uint32_t waiting);
  void wake();
  // Whether posted writes were among what came.
  bool serve_once(TrapHandler& handler, bool& ok);
  // All that is there now, in the order in which the guest wrote it.
  bool deliver_posted(TrapHandler& handler, bool& ok);
  TrapPort* oldest_posted() const;
  bool has_requests() const;
  bool has_posted() const;

  const std::function<bool()> wake_;
  PostedSequence sequence_;
  std::vector<std::unique_ptr<TrapPort>> ports_;  // JavaScript thread only
  std::atomic<uint32_t> attention_ = kAsleep;
  std::atomic<bool> shut_ = false;
  std::atomic<uint64_t> wakeups_ = 0;
  uint64_t linger_ns_ = 0;
  uint64_t left_at_ns_ = 0;
};

}  // namespace tsvmm
