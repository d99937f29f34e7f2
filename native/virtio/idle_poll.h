// How long a worker looks for more work before it sleeps. Like KVM's halt polling: a sleep that turns out short makes
// the next look longer, one that turns out long ends it, so that an idle device costs nothing.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace tsvmm {

// One thread.
class IdlePoll {
 public:
  // `maximum_ns`: what a sleep and a wake-up cost at most; looking longer than that cannot pay off. 0: never look.
  explicit IdlePoll(uint64_t maximum_ns) : maximum_ns_(maximum_ns) {}

  // Calls `ready` until it is true or the window is over; returns its last answer.
  template <typename Ready>
  bool look(Ready&& ready) {
    idle_since_ns_ = now_ns();
    if (window_ns_ == 0) return false;
    const auto end = idle_since_ns_ + window_ns_;
    do {
      for (int round = 0; round < kRoundsPerClock; ++round) {
        if (ready()) return true;
        relax();
      }
    } while (now_ns() < end);
    return false;
  }

  // After the sleep that followed a look() in vain.
  void slept() {
    const auto idle_ns = now_ns() - idle_since_ns_;
    if (idle_ns <= maximum_ns_) {
      window_ns_ = std::min(maximum_ns_, std::max(kFirstWindowNs, window_ns_ * 2));
    } else if (window_ns_ != 0) {
      window_ns_ = 0;
    }
  }

 private:
  static constexpr int kRoundsPerClock = 16;
  static constexpr uint64_t kFirstWindowNs = 8'000;

  static uint64_t now_ns() {
    return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
  }
  static void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  uint64_t maximum_ns_;
  uint64_t window_ns_ = 0;
  uint64_t idle_since_ns_ = 0;
};

// 0 where the process has a single CPU: a look would only keep the guest from making work.
inline uint64_t default_poll_ns() {
  cpu_set_t cpus;
  const bool single = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) < 2;
  return single ? 0 : 100'000;
}

}  // namespace tsvmm
