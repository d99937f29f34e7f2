// How many bytes a second several threads may send together.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace tsvmm {

// Any thread.
class RateLimit {
 public:
  // 0: as many as there are.
  void set(uint64_t bytes_per_second);
  // Waits until so many may be sent; at once after end().
  void take(uint64_t bytes);
  void end();

 private:
  using Clock = std::chrono::steady_clock;

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t bytes_per_second_ = 0;
  bool is_ended_ = false;
  // When all that was taken will have been sent.
  Clock::time_point paid_until_{};
};

}  // namespace tsvmm
