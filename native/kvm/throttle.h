// Slows a vCPU down: its thread lets the guest run for a moment, and sleeps for a share of the time.
#pragma once

#include <atomic>
#include <chrono>
#include <ctime>
#include <optional>

namespace tsvmm {

inline constexpr unsigned kMostThrottlePercent = 99;

// set() and is_off() may be called by any thread, all else by the vCPU's.
class Throttle {
 public:
  Throttle() = default;
  ~Throttle();
  Throttle(const Throttle&) = delete;
  Throttle& operator=(const Throttle&) = delete;

  // Of the time it does not run; at most kMostThrottlePercent. It is noticed when the thread next leaves the guest.
  void set(unsigned percent) { percent_ = percent; }
  bool is_off() const { return percent_ == 0; }

  // Before the guest is entered: sees to it that `signal` ends its time. Where no timer can be had it is not slowed
  // down.
  void begin(int signal);
  // When the guest was left: how long to sleep now, if its time is over.
  std::chrono::nanoseconds pause();

 private:
  using Clock = std::chrono::steady_clock;

  bool make_timer(int signal);

  std::atomic<unsigned> percent_ = 0;
  std::optional<timer_t> timer_;
  std::optional<Clock::time_point> until_;  // while the guest has its time
};

}  // namespace tsvmm
