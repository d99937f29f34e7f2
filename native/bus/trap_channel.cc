#include "bus/trap_channel.h"

#include <algorithm>
#include <ctime>
#include <thread>
#include <utility>

namespace tsvmm {

namespace {

// Sleeping and waking costs some 70 microseconds on hardware and several times that where the host is itself virtual;
// waiting longer than that never pays.
constexpr uint64_t kFirstWaitNs = 10'000;
constexpr uint64_t kLongestWaitNs = 1'000'000;
// How long serve() may keep the event loop from everything else.
constexpr uint64_t kLongestServeNs = 4'000'000;

uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// With a single processor whoever spins keeps the other side from answering.
bool spinning_helps() {
  static const bool several = std::thread::hardware_concurrency() > 1;
  return several;
}

uint64_t lengthened(uint64_t wait_ns) { return std::clamp(wait_ns * 2, kFirstWaitNs, kLongestWaitNs); }

uint64_t shortened(uint64_t wait_ns) { return wait_ns / 2 < kFirstWaitNs ? 0 : wait_ns / 2; }

// Polls `ready` for at most `limit_ns`.
template <typename Ready>
bool poll_for(uint64_t limit_ns, Ready&& ready) {
  if (limit_ns == 0 || !spinning_helps()) return ready();
  const auto deadline = now_ns() + limit_ns;
  do {
    // Reading the clock costs as much as several looks.
    for (int look = 0; look < 16; ++look) {
      if (ready()) return true;
      relax();
    }
  } while (now_ns() < deadline);
  return ready();
}

}  // namespace

uint32_t TrapPort::read(const Window& window, uint32_t offset, uint32_t width) {
  return ask({TrapRequest::Kind::kRead, window.id(), offset, width, 0});
}

void TrapPort::write(const Window& window, uint32_t offset, uint32_t width, uint32_t value) {
  ask({TrapRequest::Kind::kWrite, window.id(), offset, width, value});
}

void TrapPort::end_of_interrupt(uint32_t vector) { ask({TrapRequest::Kind::kEndOfInterrupt, vector, 0, 0, 0}); }

void TrapPort::post(const Window& window, uint32_t offset, uint32_t width, uint32_t value) {
  const PostedWrite write{window.id(), offset, width, value};
  while (!ring_.push(write, channel_.sequence_)) {
    if (channel_.shut_.load(std::memory_order_acquire)) return;
    channel_.announce_posted(ring_.size());
    ring_.wait_for_room();
  }
  channel_.announce_posted(ring_.size());
}

uint32_t TrapPort::ask(const TrapRequest& request) {
  if (channel_.shut_.load(std::memory_order_acquire)) return UINT32_MAX;
  request_ = request;
  state_.store(kRequested, std::memory_order_seq_cst);
  // shut() has either seen the request and answers it, or is seen here.
  if (channel_.shut_.load(std::memory_order_seq_cst)) return UINT32_MAX;
  channel_.announce_request();
  const auto answered = [&] { return state_.load(std::memory_order_acquire) == kAnswered; };
  if (poll_for(spin_ns_, answered)) {
    spin_ns_ = std::max(spin_ns_, kFirstWaitNs);
  } else {
    const auto slept_at = now_ns();
    waits_.store(waits_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    while (!answered()) state_.wait(kRequested, std::memory_order_acquire);
    spin_ns_ = now_ns() - slept_at < kLongestWaitNs ? lengthened(spin_ns_) : shortened(spin_ns_);
  }
  state_.store(kIdle, std::memory_order_relaxed);
  return answer_;
}

void TrapPort::reply(uint32_t answer) {
  answer_ = answer;
  // Sequentially consistent, because notify_one() looks for waiters next: a weaker store could still be on its way when
  // the vCPU goes to sleep.
  state_.store(kAnswered, std::memory_order_seq_cst);
  state_.notify_one();
}

TrapChannel::TrapChannel(std::function<bool()> wake) : wake_(std::move(wake)) {}

TrapPort& TrapChannel::add_port() { return *ports_.emplace_back(std::make_unique<TrapPort>(*this)); }

void TrapChannel::announce_request() {
  // Pairs with the store at the end of serve(): either this sees that nobody looks and wakes, or serve() sees what was
  // published before. The same holds for posted writes.
  if (attention_.load(std::memory_order_seq_cst) != kAttentive) wake();
}

void TrapChannel::announce_posted(uint32_t waiting) {
  const auto attention = attention_.load(std::memory_order_seq_cst);
  const bool is_filling = waiting > PostedRing::kCapacity / 2;
  if (attention == kAsleep || (attention == kCollecting && is_filling)) wake();
}

void TrapChannel::wake() {
  if (wake_()) wakeups_.fetch_add(1, std::memory_order_relaxed);
}

bool TrapChannel::has_requests() const {
  return std::ranges::any_of(
      ports_, [](const auto& port) { return port->state_.load(std::memory_order_seq_cst) == TrapPort::kRequested; });
}

bool TrapChannel::has_posted() const {
  return std::ranges::any_of(ports_, [](const auto& port) { return port->ring_.size() != 0; });
}

TrapPort* TrapChannel::oldest_posted() const {
  TrapPort* oldest = nullptr;
  auto sequence = UINT64_MAX;
  // Twice: of what was written before the one that the first look has found, the second misses nothing.
  for (int look = 0; look < 2; ++look) {
    for (const auto& port : ports_) {
      const auto front = port->ring_.front();
      if (!front || *front >= sequence) continue;
      oldest = port.get();
      sequence = *front;
    }
  }
  return oldest;
}

bool TrapChannel::deliver_posted(TrapHandler& handler, bool& ok) {
  // No more than there are now: a guest that never stops posting must not keep everybody else waiting.
  uint64_t due = 0;
  for (const auto& port : ports_) due += port->due_writes_ = port->ring_.size();
  const bool has_posted = due != 0;
  while (due != 0) {
    auto* port = oldest_posted();
    const auto write = port != nullptr ? port->ring_.pop() : std::nullopt;
    // The handler has shut the channel.
    if (!write) break;
    if (port->due_writes_ != 0) {
      --port->due_writes_;
      --due;
    }
    handler.posted(*write, ok);
  }
  return has_posted;
}

bool TrapChannel::serve_once(TrapHandler& handler, bool& ok) {
  // Looked at before the rings are drained: what any vCPU posted before the request is delivered before it.
  for (const auto& port : ports_) {
    port->is_due_ = port->state_.load(std::memory_order_acquire) == TrapPort::kRequested;
  }
  const bool has_posted = deliver_posted(handler, ok);
  // Handlers may add ports (a hotplugged vCPU): the index stays valid where an iterator would not.
  for (size_t index = 0; index < ports_.size(); ++index) {
    auto& port = *ports_[index];
    if (std::exchange(port.is_due_, false)) port.reply(handler.trap(port.request_, ok));
  }
  return has_posted;
}

bool TrapChannel::deliver_pending(TrapHandler& handler) {
  bool ok = true;
  serve_once(handler, ok);
  return ok;
}

bool TrapChannel::serve(TrapHandler& handler) {
  const auto began = now_ns();
  // Requests that come soon after this thread left would have been worth waiting for.
  if (left_at_ns_ != 0)
    linger_ns_ = began - left_at_ns_ < kLongestWaitNs ? lengthened(linger_ns_) : shortened(linger_ns_);
  attention_.store(kAttentive, std::memory_order_seq_cst);
  bool ok = true;
  bool had_posted = false;
  for (;;) {
    had_posted = serve_once(handler, ok) || had_posted;
    if (!ok || shut_.load(std::memory_order_acquire)) break;
    if (now_ns() - began > kLongestServeNs) break;
    // A posted write is not worth waiting for: nobody waits for it either.
    if (!poll_for(linger_ns_, [this] { return has_requests(); })) break;
  }
  attention_.store(had_posted ? kCollecting : kAsleep, std::memory_order_seq_cst);
  left_at_ns_ = now_ns();
  if (has_requests() || (!had_posted && has_posted())) wake();
  return ok;
}

void TrapChannel::shut() {
  shut_.store(true, std::memory_order_seq_cst);
  for (const auto& port : ports_) {
    // Emptied, because a vCPU may be waiting for room.
    while (port->ring_.pop()) continue;
    if (port->state_.load(std::memory_order_seq_cst) == TrapPort::kRequested) port->reply(UINT32_MAX);
  }
}

}  // namespace tsvmm
