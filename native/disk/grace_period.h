// When nobody can still be at a place of the file that was given up: requests under way hold a claim, and a place that
// was given up in one epoch is free for another use when the next but one has begun.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

namespace tsvmm {

class GracePeriod {
 public:
  // Held while a request uses places that it has looked up. Any thread, one at a time.
  class Claim {
   public:
    Claim() = default;
    Claim(Claim&& other) noexcept : count_(std::exchange(other.count_, nullptr)) {}
    Claim& operator=(Claim&& other) noexcept {
      std::swap(count_, other.count_);
      return *this;
    }
    ~Claim() {
      if (count_ != nullptr) count_->fetch_sub(1, std::memory_order_release);
    }

   private:
    friend GracePeriod;
    explicit Claim(std::atomic<uint64_t>* count) : count_(count) { count->fetch_add(1, std::memory_order_relaxed); }

    std::atomic<uint64_t>* count_ = nullptr;
  };

  // These two under the lock that lookups and changes of what they find are under, too.
  Claim enter() { return Claim(&counts_[epoch_ % 2]); }
  // The first epoch in which a place that is given up now is free.
  uint64_t free_epoch() const { return epoch_ + 2; }

  // Under the same lock. The epoch that it is, after as many have ended as can.
  uint64_t advance() {
    for (int step = 0; step < 2; ++step) {
      if (counts_[(epoch_ + 1) % 2].load(std::memory_order_acquire) != 0) break;
      ++epoch_;
    }
    return epoch_;
  }

 private:
  std::array<std::atomic<uint64_t>, 2> counts_{};
  uint64_t epoch_ = 0;
};

}  // namespace tsvmm
