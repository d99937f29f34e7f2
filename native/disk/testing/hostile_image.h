// For tests: an image whose bytes are changed to see whether it is opened still.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include "disk/testing/qemu_img.h"
#include "sys/unique_fd.h"

namespace tsvmm {

template <typename Image>
class HostileImageTest : public testing::Test {
 protected:
  explicit HostileImageTest(const std::string& name) : path_(folder_.path(name)) {}

  // Why it is not opened; empty where it is.
  std::string refusal(bool read_only = false) {
    write_file(path_, bytes_);
    const UniqueFd fd(open(path_.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
    const auto image = Image::open(fd.get(), {.read_only = read_only});
    if (!image) {
      EXPECT_TRUE(read_file(path_) == bytes_) << "it was changed";
    }
    return image ? "" : image.failure().reason;
  }

  Folder folder_;
  const std::string path_;
  std::string bytes_;
};

}  // namespace tsvmm
