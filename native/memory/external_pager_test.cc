#include "memory/external_pager.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <thread>

#include "memory/testing/fake_pages.h"
#include "memory/testing/page_fault_handler.h"

namespace tsvmm {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kNever = UINT64_MAX;
constexpr uint64_t kFatal = 2048;

class ExternalPagerTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto userfault = Userfault::open();
    if (!userfault) {
      ASSERT_EQ(userfault.failure().error, EPERM) << userfault.failure().operation;
      GTEST_SKIP() << userfault.failure().operation << " is not permitted here";
    }
    ASSERT_NE(mkdtemp(folder_), nullptr);
    path_ = std::string(folder_) + "/handler.sock";
    ASSERT_TRUE(ram_.create({}));
  }
  void TearDown() override {
    pager_.reset();
    unlink(path_.c_str());
    rmdir(folder_);
  }

  // A handler that answers until somebody touches `last_page`, and then dies.
  std::unique_ptr<Child> handle_until(uint64_t last_page, bool hangs_up = false) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    auto child = std::make_unique<Child>([&] {
      PageFaultHandler handler(path_);
      close(ready[1]);
      if (!handler.accept()) return;
      if (hangs_up) handler.hang_up();
      handler.serve_until(last_page);
    });
    close(ready[1]);
    char none = 0;
    EXPECT_EQ(read(ready[0], &none, 1), 0);
    close(ready[0]);
    return child;
  }
  ExternalPagerOptions options() {
    return {.memory = ram_.map, .socket_path = path_, .on_failure = [this](const std::string& reason) {
              failure_.set_value(reason);
            }};
  }
  void start(const ExternalPagerOptions& options) {
    auto started = ExternalPager::start(options);
    ASSERT_TRUE(started) << started.failure().operation;
    pager_ = std::move(started).value();
  }
  std::future<bool> touch(uint64_t page) {
    return std::async(std::launch::async, [this, page] { return ram_.is_zero(page); });
  }

  FakeRam ram_;
  char folder_[32] = "/tmp/tsvmm-pager-XXXXXX";
  std::string path_;
  std::promise<std::string> failure_;
  std::future<std::string> failed_ = failure_.get_future();
  std::unique_ptr<ExternalPager> pager_;
};

TEST_F(ExternalPagerTest, MappingsAreDescribedAsFirecrackerDoes) {
  const auto space = PagingSpace::of(ram_.map);
  const auto first = std::to_string(reinterpret_cast<uintptr_t>(ram_.at(0)));
  const auto second = std::to_string(reinterpret_cast<uintptr_t>(ram_.at(FakeRam::kFirstPages)));
  EXPECT_EQ(describe_mappings(space.value()),
            R"([{"base_host_virt_addr":)" + first +
                R"(,"size":12582912,"offset":0,"page_size":4096,"page_size_kib":4096},{"base_host_virt_addr":)" +
                second + R"(,"size":4194304,"offset":12582912,"page_size":4096,"page_size_kib":4096}])");
}

TEST_F(ExternalPagerTest, TheOtherProcessServesEveryPage) {
  const auto child = handle_until(kNever);
  start(options());
  for (uint64_t page = 0; page < FakeRam::kPages; ++page) ASSERT_TRUE(ram_.is_as_saved(page)) << page;
}

TEST_F(ExternalPagerTest, AHandlerMayLetGoOfTheSocketAndServeOn) {
  const auto child = handle_until(kNever, true);
  auto quick = options();
  quick.stall = 50ms;
  start(quick);
  for (uint64_t page = 0; page < 200; ++page) {
    ASSERT_TRUE(ram_.is_as_saved(page)) << page;
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(failed_.wait_for(0s), std::future_status::timeout);
}

TEST_F(ExternalPagerTest, WhenTheHandlerDiesItsReadersWaitForTheMachineToBeGivenUp) {
  const auto child = handle_until(kFatal);
  start(options());
  EXPECT_TRUE(ram_.is_as_saved(1));
  auto taken = touch(kFatal);
  EXPECT_NE(failed_.get().find("has gone"), std::string::npos);
  auto after = touch(1000);
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(is_done(taken));
  EXPECT_FALSE(is_done(after));
  EXPECT_TRUE(ram_.mapping->discard()) << "who removes memory does not wait for the dead";
  pager_->abandon();
  EXPECT_TRUE(taken.get());
  EXPECT_TRUE(after.get());
}

TEST_F(ExternalPagerTest, WhenTheHandlerDiesNobodyWaitsForEver) {
  const auto child = handle_until(kFatal, true);
  auto quick = options();
  quick.grace = 50ms;
  start(quick);
  EXPECT_TRUE(ram_.is_zero(kFatal));
  EXPECT_NE(failed_.get().find("has gone"), std::string::npos);
  EXPECT_TRUE(ram_.is_zero(3000));
}

TEST_F(ExternalPagerTest, AHandlerThatHangsUpAndAnswersNoMoreIsTakenForGone) {
  PageFaultHandler handler(path_);
  auto quick = options();
  quick.stall = 50ms;
  quick.grace = 50ms;
  start(quick);
  ASSERT_TRUE(handler.accept());
  handler.hang_up();
  EXPECT_TRUE(ram_.is_zero(0));
  EXPECT_NE(failed_.get().find("answers no more"), std::string::npos);
}

TEST_F(ExternalPagerTest, TheEndOfThePagerLeavesNobodyWaiting) {
  PageFaultHandler handler(path_);
  start(options());
  auto reader = touch(0);
  std::this_thread::sleep_for(10ms);
  EXPECT_FALSE(is_done(reader));
  pager_.reset();
  EXPECT_TRUE(reader.get());
}

TEST_F(ExternalPagerTest, WhereNobodyListensThereIsNoPager) {
  const auto error = [&] { return ExternalPager::start(options()).failure().error; };
  EXPECT_EQ(error(), ENOENT);
  { const PageFaultHandler gone(path_); }
  EXPECT_EQ(error(), ECONNREFUSED);
  path_ = std::string(200, 'x');
  EXPECT_EQ(error(), ENAMETOOLONG);
  EXPECT_TRUE(ram_.is_zero(0)) << "nobody watches the memory";
}

}  // namespace
}  // namespace tsvmm
