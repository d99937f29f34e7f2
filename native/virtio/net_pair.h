// The thread behind one receive and one transmit queue of a network card, and one tap queue.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "io/rate_limiter.h"
#include "sys/unique_fd.h"
#include "virtio/idle_poll.h"
#include "virtio/vring.h"
#include "virtio/worker.h"

namespace tsvmm {

// Shared by the pairs of a card. Any thread.
struct NetShared {
  std::atomic<uint64_t> active_pairs = 1;
  // How much all pairs together receive and transmit; nullptr: as much as there is.
  std::shared_ptr<RateLimiter> receive_limiter;
  std::shared_ptr<RateLimiter> transmit_limiter;
  std::atomic<uint64_t> receive_bytes = 0;
  std::atomic<uint64_t> receive_frames = 0;
  std::atomic<uint64_t> transmit_bytes = 0;
  std::atomic<uint64_t> transmit_frames = 0;
};

// A queue of the pair; a driver need not have set up both.
struct NetQueue {
  Vring vring;
  Virtqueue queue;
  bool failed = false;
  // Until its limiter lets it go on, when it was asked last; 0: it does.
  uint64_t wait_ns = 0;

  void publish() {
    if (queue.publish()) vring.interrupt->signal();
  }
};

// Frames go between guest memory and the tap without a copy. While there is work the driver is asked not to notify;
// without a receive buffer the tap is not looked at; while the tap is full the transmit queue is not. A direction that
// has had what its limiter allows rests: frames wait in the tap, or in the driver's queue.
class NetPair final : public Worker {
 public:
  struct Options {
    uint32_t number;  // of the pair
    int tap;
    uint64_t features;
    std::optional<NetQueue> receive;
    std::optional<NetQueue> transmit;
  };

  NetPair(EventFd wake, UniqueFd epoll, NetShared& shared, Options options, OnFailure on_failure);
  ~NetPair() override { join(); }

  // Before launch().
  Result<> watch_events();
  void add_positions(std::vector<VringPosition>& positions) const override;

 private:
  void run() override;
  void rest();
  bool look_for_work(unsigned round);
  void sleep();
  // 0: nothing waits for its limiter.
  uint64_t limited_ns() const;
  void adopt_memory();
  void heed_active_pairs();
  void watch_tap();
  void disable_notifications();
  bool enable_notifications();
  static void fail(NetQueue& queue, const char* reason, const OnFailure& on_failure);
  static bool is_limited(NetQueue& queue, const std::shared_ptr<RateLimiter>& limiter);

  // Each: true where it did something.
  bool transmit();
  bool receive();
  // False where the tap is full.
  bool send(Chain& chain);
  // False where the tap has none.
  bool read_frame();
  void mark_placed(size_t bytes);
  // Buffers for a frame, as far as the driver has offered them; false where there is none.
  bool gather_buffers();
  bool take_buffer();
  // Gives the frame in hand to the driver; false where it needs more buffers than there are yet.
  bool deliver();
  void give_back_unused();
  bool takes_frames() const;
  bool is_starved() const { return frame_bytes_ != 0 || buffers_.empty(); }

  NetShared& shared_;
  Options options_;
  OnFailure on_failure_;
  UniqueFd epoll_;
  IdlePoll poll_;
  bool active_ = true;
  const bool mergeable_;
  const size_t wanted_bytes_;  // of buffers, before a frame is read

  // Until it said otherwise; an event says so again.
  bool tap_readable_ = true;
  bool tap_writable_ = true;
  uint32_t tap_events_ = 0;  // watched

  Chain outgoing_;
  bool outgoing_waits_ = false;  // popped when the tap was full

  std::deque<Chain> buffers_;  // popped and not yet used, in order
  size_t buffer_bytes_ = 0;
  std::vector<Chain> spare_;
  std::vector<iovec> pieces_;
  std::vector<std::byte> overflow_;  // takes what of a frame does not fit into the buffers
  size_t frame_bytes_ = 0;           // of the frame in hand, header included; 0: none
  size_t frame_placed_ = 0;          // of it, in buffers
};

}  // namespace tsvmm
