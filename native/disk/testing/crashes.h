// For tests: writers that are killed, and files whose host loses power.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "disk/disk_image.h"
#include "disk/image_file.h"

namespace tsvmm {

inline constexpr uint64_t kCrashDiskBytes = 16ull << 20;
inline constexpr uint64_t kCrashBlock = 4096;

inline std::string crash_disk_size() { return " " + std::to_string(kCrashDiskBytes); }

// Writes its own blocks, each with its number in every word, at random, and sometimes clears them.
[[noreturn]] inline void write_for_ever(DiskImage& image, uint64_t thread, uint64_t threads) {
  std::mt19937_64 random(thread);
  std::vector<uint64_t> words(kCrashBlock / sizeof(uint64_t));
  for (;;) {
    const auto block = random() % (kCrashDiskBytes / kCrashBlock / threads) * threads + thread;
    if (random() % 64 == 0) image.flush();
    if (random() % 16 == 0) {
      image.write_zeroes(block * kCrashBlock, kCrashBlock, true);
      continue;
    }
    if (random() % 256 == 0) image.discard(block * kCrashBlock / (1 << 20) * (1 << 20), 1 << 20);
    std::ranges::fill(words, block + 1);
    const iovec piece{words.data(), kCrashBlock};
    image.write(block * kCrashBlock, {&piece, 1});
  }
}

// Every block is as one write or none left it.
inline void expect_whole_blocks(const std::string& content) {
  for (uint64_t block = 0; block < content.size() / kCrashBlock; ++block) {
    std::vector<uint64_t> words(kCrashBlock / sizeof(uint64_t));
    std::memcpy(words.data(), &content[block * kCrashBlock], kCrashBlock);
    const auto first = words[0];
    ASSERT_TRUE(first == 0 || first == block + 1) << block << ": " << first;
    ASSERT_TRUE(std::ranges::all_of(words, [&](uint64_t word) { return word == first; })) << block;
  }
}

// A process that writes with two threads until it is killed.
inline void kill_a_writer(uint64_t seed, const std::function<std::unique_ptr<DiskImage>()>& open_image) {
  std::mt19937_64 random(seed);
  const auto child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto image = open_image();
    if (!image) _exit(1);
    std::thread other([&] { write_for_ever(*image, 1, 2); });
    write_for_ever(*image, 0, 2);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20 + random() % 200));
  kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it could not begin";
}

// A file whose host loses power: of what was written since the last sync any part may be there.
class LossyFile final : public ImageFile {
 public:
  LossyFile(std::unique_ptr<ImageFile> file, std::string content)
      : file_(std::move(file)), stable_(std::move(content)) {}

  uint64_t size() const override { return file_->size(); }
  bool is_block_device() const override { return false; }
  int read(uint64_t offset, std::span<std::byte> bytes) const override { return file_->read(offset, bytes); }
  int write(uint64_t offset, std::span<const std::byte> bytes) override {
    pending_.push_back({offset, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}});
    return file_->write(offset, bytes);
  }
  int sync() override {
    for (const auto& each : pending_) apply(stable_, each);
    pending_.clear();
    ++syncs;
    return 0;
  }
  int resize(uint64_t size) override {
    stable_.resize(size);
    return file_->resize(size);
  }
  int clear(uint64_t /*offset*/, uint64_t /*length*/, bool /*gives_back*/) override { return 0; }

  // The tables that may be left now. The data, which are not written through this, are missing.
  std::string lost(std::mt19937_64& random) const {
    auto content = stable_;
    for (const auto& each : pending_) {
      if (random() % 2 == 0) apply(content, each);
    }
    return content;
  }

  uint64_t syncs = 0;

 private:
  struct Written {
    uint64_t offset;
    std::string bytes;
  };

  static void apply(std::string& content, const Written& each) {
    content.replace(each.offset, each.bytes.size(), each.bytes);
  }

  std::unique_ptr<ImageFile> file_;
  std::string stable_;
  std::vector<Written> pending_;
};

}  // namespace tsvmm
