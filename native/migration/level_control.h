// How hard to compress: as hard as the time allows that a connection needs for its bytes anyway.
#pragma once

#include <chrono>

namespace tsvmm {

// One thread.
class LevelControl {
 public:
  // zstd's. A level costs about twice the time of the one two below.
  static constexpr int kLowest = -5;
  static constexpr int kFirst = 1;
  static constexpr int kHighest = 7;

  int level() const { return level_; }

  // Of a frame: how long it took to compress it, and to be rid of it.
  void note(std::chrono::nanoseconds encoding, std::chrono::nanoseconds sending) {
    encoding_ += encoding;
    sending_ += sending;
    if (++frames_ < kFrames) return;
    if (sending_ > 3 * encoding_ && level_ < kHighest) ++level_;
    if (encoding_ > 3 * sending_ && level_ > kLowest) --level_;
    *this = LevelControl(level_);
  }

  LevelControl() = default;

 private:
  explicit LevelControl(int level) : level_(level) {}

  static constexpr unsigned kFrames = 8;
  int level_ = kFirst;
  unsigned frames_ = 0;
  std::chrono::nanoseconds encoding_{0};
  std::chrono::nanoseconds sending_{0};
};

}  // namespace tsvmm
