// For tests: an image beside what its disk should have in it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>

#include "disk/disk_image.h"
#include "io/pieces.h"

namespace tsvmm {

// One thread.
class ImageCheck {
 public:
  ImageCheck(DiskImage& image, std::string content, uint64_t seed)
      : content(std::move(content)), image_(image), random_(seed) {}

  int write(uint64_t offset, const std::string& bytes) {
    const auto pieces = in_pieces(bytes);
    const int error = image_.write(offset, pieces);
    if (error == 0) content.replace(offset, bytes.size(), bytes);
    return error;
  }
  int write_zeroes(uint64_t offset, uint64_t length, bool unmap) {
    const int error = image_.write_zeroes(offset, length, unmap);
    if (error == 0) content.replace(offset, length, std::string(length, 0));
    return error;
  }
  // What is discarded may be anything afterwards; it is made known again by writing it.
  int discard(uint64_t offset, uint64_t length) {
    if (const int error = image_.discard(offset, length); error != 0) return error;
    const auto now = read(offset, length);
    content.replace(offset, length, now);
    return 0;
  }

  std::string read(uint64_t offset, uint64_t length) {
    std::string bytes(length, '?');
    EXPECT_EQ(image_.read(offset, in_pieces(bytes)), 0) << offset << " " << length;
    return bytes;
  }
  bool is_same() { return read(0, content.size()) == content; }

  uint64_t below(uint64_t limit) { return random_() % limit; }
  std::string noise(uint64_t length) {
    std::string bytes(length, 0);
    for (auto& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }
  // One of all that a guest may do, where it likes.
  void step() {
    const auto sectors = content.size() / 512;
    const auto sector = below(sectors);
    const auto most = std::min<uint64_t>(sectors - sector, below(8) == 0 ? 512 : 32);
    const auto offset = sector * 512;
    const auto length = (1 + below(most)) * 512;
    switch (below(12)) {
      case 0:
        EXPECT_EQ(discard(offset, length), 0);
        break;
      case 1:
        EXPECT_EQ(write_zeroes(offset, length, true), 0);
        break;
      case 2:
        EXPECT_EQ(write_zeroes(offset, length, false), 0);
        break;
      case 3:
        EXPECT_EQ(image_.flush(), 0);
        break;
      case 4:
        EXPECT_EQ(image_.settle(), 0);
        break;
      case 5:
      case 6:
      case 7:
        EXPECT_TRUE(read(offset, length) == content.substr(offset, length)) << offset << " " << length;
        break;
      default:
        EXPECT_EQ(write(offset, noise(length)), 0);
    }
  }

  std::string content;

 private:
  // At odd places.
  std::vector<iovec> in_pieces(const std::string& bytes) {
    std::vector<iovec> pieces;
    for (size_t done = 0; done < bytes.size();) {
      const auto part = std::min<size_t>(bytes.size() - done, 1 + below(70'000));
      // SAFETY: only read() writes to it, whose string is its own.
      pieces.push_back({const_cast<char*>(bytes.data()) + done, part});
      done += part;
    }
    return pieces;
  }

  DiskImage& image_;
  std::mt19937_64 random_;
};

}  // namespace tsvmm
