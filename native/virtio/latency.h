// How long requests took, from the moment they were taken from the queue.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace tsvmm {

// Any thread.
class Latency {
 public:
  using Clock = std::chrono::steady_clock;

  void add(Clock::duration duration) {
    const auto ns = static_cast<uint64_t>(std::chrono::nanoseconds(duration).count());
    total_ns_.fetch_add(ns, std::memory_order_relaxed);
    count_.fetch_add(1, std::memory_order_relaxed);
    for (auto least = least_ns_.load(std::memory_order_relaxed);
         ns < least && !least_ns_.compare_exchange_weak(least, ns, std::memory_order_relaxed);) {
    }
    for (auto most = most_ns_.load(std::memory_order_relaxed);
         ns > most && !most_ns_.compare_exchange_weak(most, ns, std::memory_order_relaxed);) {
    }
  }

  // All 0 as long as there was none.
  uint64_t least_us() const { return count() == 0 ? 0 : least_ns_.load(std::memory_order_relaxed) / kNsPerUs; }
  uint64_t most_us() const { return most_ns_.load(std::memory_order_relaxed) / kNsPerUs; }
  uint64_t average_us() const {
    const auto all = count();
    return all == 0 ? 0 : total_ns_.load(std::memory_order_relaxed) / all / kNsPerUs;
  }

 private:
  static constexpr uint64_t kNsPerUs = 1'000;

  uint64_t count() const { return count_.load(std::memory_order_relaxed); }

  std::atomic<uint64_t> count_ = 0;
  std::atomic<uint64_t> total_ns_ = 0;
  std::atomic<uint64_t> least_ns_ = UINT64_MAX;
  std::atomic<uint64_t> most_ns_ = 0;
};

}  // namespace tsvmm
