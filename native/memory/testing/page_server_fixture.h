// For tests: a server of the pages of fake_pages.h, for every kind of memory.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "memory/page_server.h"
#include "memory/testing/fake_pages.h"
#include "memory/testing/huge_pages.h"

namespace tsvmm {

using Backing = MappingOptions::Backing;

// Twice what the memory has: private huge pages lose what is set aside for them when they are removed.
constexpr int kHugePages = 16;

struct Kind {
  const char* name;
  MappingOptions options;
};

inline const Kind kKinds[] = {
    {"Anonymous", {}},
    {"SharedAnonymous", {.shared = true}},
    {"TransparentHugePages", {.thp = true}},
    {"SharedMemfd", {.backing = Backing::kMemfd, .shared = true}},
    {"PrivateMemfd", {.backing = Backing::kMemfd}},
    {"SharedHugePages", {.backing = Backing::kMemfd, .shared = true, .huge_page_size = 2 << 20}},
    {"PrivateHugePages", {.backing = Backing::kMemfd, .huge_page_size = 2 << 20}},
};

class PageServerFixture : public testing::TestWithParam<Kind> {
 protected:
  static void SetUpTestSuite() { reserve_.emplace(kHugePages); }
  static void TearDownTestSuite() { reserve_.reset(); }

  void SetUp() override {
    const auto userfault = Userfault::open();
    if (!userfault) {
      ASSERT_EQ(userfault.failure().error, EPERM) << userfault.failure().operation;
      GTEST_SKIP() << userfault.failure().operation << " is not permitted here";
    }
    if (GetParam().options.huge_page_size != 0 && free_huge_pages() < kHugePages) {
      GTEST_SKIP() << "this host has no " << kHugePages << " huge pages to spare (vm.nr_hugepages)";
    }
    ASSERT_TRUE(ram_.create(GetParam().options));
  }

  void start(PageServerOptions options = {}) {
    options.memory = ram_.map;
    if (options.source == nullptr) options.source = source_;
    options.on_failure = [this](const std::string& reason) { failure_.set_value(reason); };
    auto started = PageServer::start(std::move(options));
    ASSERT_TRUE(started) << started.failure().operation;
    server_ = std::move(started).value();
  }
  std::future<bool> fill(uint64_t bytes_per_second = 0) {
    auto end = std::make_shared<std::promise<bool>>();
    auto future = end->get_future();
    EXPECT_TRUE(server_->fill(bytes_per_second, [end](bool is_complete) { end->set_value(is_complete); }));
    return future;
  }
  bool all_as_saved() const {
    for (uint64_t page = 0; page < FakeRam::kPages; ++page) {
      if (!ram_.is_as_saved(page)) return false;
    }
    return true;
  }
  uint64_t block() const { return GetParam().options.huge_page_size != 0 ? 512 : 16; }

  inline static std::optional<HugePageReserve> reserve_;
  FakeRam ram_;
  std::shared_ptr<FakePages> source_ = std::make_shared<FakePages>();
  std::promise<std::string> failure_;
  std::unique_ptr<PageServer> server_;
};

}  // namespace tsvmm
