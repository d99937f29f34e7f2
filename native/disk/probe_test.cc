#include "disk/probe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "sys/unique_fd.h"

namespace tsvmm {
namespace {

class ProbeTest : public testing::Test {
 protected:
  void SetUp() override {
    fd_.reset(mkostemp(path_.data(), O_CLOEXEC));
    ASSERT_TRUE(fd_.is_open());
  }
  void TearDown() override { unlink(path_.c_str()); }
  UniqueFd again(int flags) const { return UniqueFd(open(path_.c_str(), flags | O_CLOEXEC)); }

  std::string path_ = "./probe-XXXXXX";
  UniqueFd fd_;
};

TEST_F(ProbeTest, TellsSizeAndAbilitiesAndChangesNothing) {
  const std::string content(10'000, 'c');
  ASSERT_EQ(pwrite(fd_.get(), content.data(), content.size(), 0), 10'000);
  struct stat before;
  fstat(fd_.get(), &before);
  const auto probe = probe_disk(fd_.get());
  ASSERT_TRUE(probe.ok());
  EXPECT_EQ(probe.value().size, 10'000u);
  EXPECT_EQ(probe.value().logical_block, 512u);
  EXPECT_TRUE(probe.value().write_zeroes);
  struct stat after;
  fstat(fd_.get(), &after);
  EXPECT_EQ(after.st_size, before.st_size);
  EXPECT_EQ(after.st_blocks, before.st_blocks);
  std::string found(10'000, 0);
  ASSERT_EQ(pread(fd_.get(), found.data(), found.size(), 0), 10'000);
  EXPECT_EQ(found, content);

  const auto read_only = probe_disk(again(O_RDONLY).get());
  EXPECT_FALSE(read_only.value().discard);
  EXPECT_FALSE(read_only.value().write_zeroes);
}

TEST_F(ProbeTest, RefusesWhatIsNoDisk) {
  EXPECT_EQ(probe_disk(UniqueFd(open("/", O_RDONLY | O_CLOEXEC)).get()).failure().error, EISDIR);
  EXPECT_EQ(probe_disk(UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)).get()).failure().error, ENOTBLK);
  EXPECT_EQ(probe_disk(-1).failure().error, EBADF);
}

TEST_F(ProbeTest, LocksKeepOthersOutUntilTheDescriptionIsClosed) {
  auto second = again(O_RDWR);
  EXPECT_TRUE(lock_file(fd_.get(), true).value());
  EXPECT_TRUE(lock_file(fd_.get(), true).value()) << "one's own";
  EXPECT_FALSE(lock_file(second.get(), true).value());
  EXPECT_FALSE(lock_file(second.get(), false).value());
  EXPECT_TRUE(unlock_file(fd_.get()));
  EXPECT_TRUE(lock_file(second.get(), true).value());
  EXPECT_TRUE(unlock_file(second.get()));
  EXPECT_TRUE(lock_file(fd_.get(), true).value());
  fd_.reset();
  EXPECT_TRUE(lock_file(second.get(), false).value());
  EXPECT_TRUE(lock_file(again(O_RDONLY).get(), false).value()) << "readers share";
  EXPECT_FALSE(lock_file(again(O_RDWR).get(), true).value());
  EXPECT_FALSE(lock_file(again(O_RDONLY).get(), true).ok()) << "an exclusive lock needs a writable descriptor";
}

}  // namespace
}  // namespace tsvmm
