#include "virtio/net_engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <chrono>
#include <condition_variable>
#include <thread>

#include "virtio/net_spec.h"
#include "virtio/testing/dirty_check.h"
#include "virtio/testing/guest_driver.h"

namespace tsvmm {
namespace {

constexpr uint64_t kRam = 0x100000;
constexpr uint64_t kRamSize = 8ull << 20;
constexpr uint64_t kMergeable = kFeatureEventIndex | 1ull << kNetMergeableBuffers | 1ull << kNetGuestTso4;

// A card whose tap is one end of a socket pair that keeps frames apart.
class NetEngineTest : public testing::Test {
 protected:
  static constexpr uint64_t kData = kRam + 0x100000;

  void SetUp() override { make_engine(1); }
  void TearDown() override {
    engine_.reset();
    for (const int wire : wires_) close(wire);
  }

  void make_engine(int pairs, NetEngine::Limiters limiters = {}) {
    std::vector<UniqueFd> taps;
    for (int pair = 0; pair < pairs; ++pair) {
      int ends[2];
      ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
      const int size = 1 << 20;
      for (const int end : ends) setsockopt(end, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
      fcntl(ends[1], F_SETFL, O_NONBLOCK);
      wires_.push_back(ends[0]);
      taps.emplace_back(ends[1]);
    }
    EngineOptions options;
    options.name = "_net0";
    options.memory = ram_.memory;
    options.on_failure = [this](uint16_t queue, const char* reason) {
      std::lock_guard lock(mutex_);
      failure_ = std::to_string(queue) + ": " + reason;
      changed_.notify_all();
    };
    options.on_stopped = [] {};
    engine_ = std::make_unique<NetEngine>(std::move(options), std::move(taps), std::move(limiters));
  }
  void start(std::vector<Vring> vrings, uint64_t features) {
    const auto failure = engine_->start(std::move(vrings), features);
    ASSERT_FALSE(failure.has_value()) << failure->failure.operation;
  }

  static std::string frame(size_t length, char value) {
    return std::string(sizeof(NetHeader), 0) + std::string(length, value);
  }
  void put(const std::string& bytes, size_t wire = 0) {
    ASSERT_EQ(send(wires_[wire], bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  // Until the engine has taken all frames from its tap.
  void wait_until_read() {
    int unread = 0;
    while (ioctl(wires_[0], SIOCOUTQ, &unread) == 0 && unread != 0) std::this_thread::yield();
  }
  std::string get(size_t wire = 0, int timeout_ms = 10'000) {
    pollfd event{wires_[wire], POLLIN, 0};
    if (::poll(&event, 1, timeout_ms) != 1) return "";
    std::string bytes(1 << 17, 0);
    const auto count = recv(wires_[wire], bytes.data(), bytes.size(), 0);
    bytes.resize(count > 0 ? static_cast<size_t>(count) : 0);
    return bytes;
  }
  std::string wait_failure() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return !failure_.empty(); });
    return failure_;
  }
  uint64_t counter(size_t number) { return engine_->counters()[number].second; }

  GuestRam ram_{kRam, kRamSize};
  std::vector<int> wires_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string failure_;
  std::unique_ptr<NetEngine> engine_;
};

TEST_F(NetEngineTest, SendsFramesAsTheyAre) {
  GuestDriver rx(ram_, 16, kMergeable, kRam);
  GuestDriver tx(ram_, 16, kMergeable, kRam + 0x10000, 65530);
  start({rx.vring(0), tx.vring(1)}, kMergeable);
  for (int round = 0; round < 20; ++round) {
    const auto bytes = "\x01" + std::string(11, 'h') + std::string(100, static_cast<char>('a' + round));
    ram_.write(kData, bytes);
    // The header in a descriptor of its own, or not.
    if (round % 2 == 0) {
      tx.add({{kData, 12}, {kData + 12, 60}, {kData + 72, 40}});
    } else {
      tx.add({{kData, 112}});
    }
    vring_used_elem element{};
    ASSERT_TRUE(tx.kick_and_wait(element));
    EXPECT_EQ(element.len, 0u);
    ASSERT_EQ(get(), bytes);
  }
  EXPECT_EQ(counter(2), 2000u);
  EXPECT_EQ(counter(3), 20u);
}

TEST_F(NetEngineTest, FramesWithoutContentAreDropped) {
  GuestDriver tx(ram_, 16, kMergeable, kRam);
  start({tx.vring(1)}, kMergeable);
  vring_used_elem element{};
  tx.add({{kData, 12}});
  ASSERT_TRUE(tx.kick_and_wait(element));
  tx.add({{kData, 12, true}});
  ASSERT_TRUE(tx.kick_and_wait(element));
  EXPECT_EQ(get(0, 50), "");
  EXPECT_EQ(counter(3), 0u);
}

TEST_F(NetEngineTest, ReceivesIntoOneBigBuffer) {
  const uint64_t features = kFeatureEventIndex;
  GuestDriver rx(ram_, 16, features, kRam);
  for (uint64_t number = 0; number < 4; ++number) {
    rx.add({{kData + number * 0x1000, 12, true}, {kData + number * 0x1000 + 64, 1514, true}});
  }
  start({rx.vring(0)}, features);
  for (uint64_t number = 0; number < 4; ++number) {
    put(frame(200 + number, static_cast<char>('a' + number)));
    vring_used_elem element{};
    ASSERT_TRUE(rx.wait_used(element));
    EXPECT_EQ(element.len, 212 + number);
    EXPECT_EQ(ram_.at<NetHeader>(kData + number * 0x1000)->num_buffers, 1);
    EXPECT_EQ(ram_.read(kData + number * 0x1000 + 64, 200 + number),
              std::string(200 + number, static_cast<char>('a' + number)));
  }
  EXPECT_EQ(counter(0), 806u);
  EXPECT_EQ(counter(1), 4u);
}

TEST_F(NetEngineTest, AFrameTooLongForItsBufferIsDroppedAndTheBufferServesTheNext) {
  const uint64_t features = kFeatureEventIndex;
  GuestDriver rx(ram_, 16, features, kRam);
  const auto head = rx.add({{kData, 112, true}});
  start({rx.vring(0)}, features);
  put(frame(101, 'x'));
  put(frame(100, 'y'));
  vring_used_elem element{};
  ASSERT_TRUE(rx.wait_used(element));
  EXPECT_EQ(element.id, head);
  EXPECT_EQ(element.len, 112u);
  EXPECT_EQ(ram_.read(kData + 12, 100), std::string(100, 'y'));
}

TEST_F(NetEngineTest, MergesBuffersForALargeFrame) {
  GuestDriver rx(ram_, 64, kMergeable, kRam);
  for (uint64_t number = 0; number < 60; ++number) rx.add({{kData + number * 0x1000, 1500, true}});
  start({rx.vring(0)}, kMergeable);
  put(frame(64, 's'));
  put(frame(60'000, 'l'));
  vring_used_elem element{};
  ASSERT_TRUE(rx.wait_used(element));
  EXPECT_EQ(element.len, 76u);
  EXPECT_EQ(ram_.at<NetHeader>(kData)->num_buffers, 1);
  std::string received;
  for (uint64_t number = 1; number <= 41; ++number) {
    ASSERT_TRUE(rx.wait_used(element)) << number;
    received += ram_.read(kData + number * 0x1000, element.len);
  }
  EXPECT_EQ(ram_.at<NetHeader>(kData + 0x1000)->num_buffers, 41);
  EXPECT_EQ(received.size(), 60'012u);
  EXPECT_EQ(received.substr(12), std::string(60'000, 'l'));
}

TEST_F(NetEngineTest, AFrameThatNeedsMoreBuffersThanThereAreWaitsForThem) {
  GuestDriver rx(ram_, 16, kMergeable, kRam);
  for (uint64_t number = 0; number < 3; ++number) rx.add({{kData + number * 0x1000, 1000, true}});
  start({rx.vring(0)}, kMergeable);
  std::string content;
  for (int byte = 0; byte < 4500; ++byte) content += static_cast<char>('0' + byte % 71);
  put(std::string(sizeof(NetHeader), 0) + content);
  put(frame(10, 'n'));
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(rx.used_index(), 0);
  for (uint64_t number = 3; number < 6; ++number) rx.add({{kData + number * 0x1000, 1000, true}});
  rx.doorbell->signal();
  std::string received;
  vring_used_elem element{};
  for (uint64_t number = 0; number < 5; ++number) {
    ASSERT_TRUE(rx.wait_used(element));
    received += ram_.read(kData + number * 0x1000, element.len);
  }
  EXPECT_EQ(ram_.at<NetHeader>(kData)->num_buffers, 5);
  EXPECT_EQ(received.substr(12), content);
  ASSERT_TRUE(rx.wait_used(element));
  EXPECT_EQ(element.len, 22u);
}

TEST_F(NetEngineTest, AFrameThatNoQueueFullCanHoldIsDropped) {
  GuestDriver rx(ram_, 4, kMergeable, kRam);
  for (uint64_t number = 0; number < 4; ++number) rx.add({{kData + number * 0x1000, 100, true}});
  start({rx.vring(0)}, kMergeable);
  put(frame(500, 'x'));
  put(frame(50, 'y'));
  vring_used_elem element{};
  ASSERT_TRUE(rx.wait_used(element));
  EXPECT_EQ(element.len, 62u);
  EXPECT_EQ(ram_.read(kData + 12, 50), std::string(50, 'y'));
}

TEST_F(NetEngineTest, WithoutBuffersFramesStayInTheTap) {
  GuestDriver rx(ram_, 16, kMergeable, kRam);
  start({rx.vring(0)}, kMergeable);
  for (int number = 0; number < 10; ++number) put(frame(100, static_cast<char>('a' + number)));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  for (int number = 0; number < 10; ++number) {
    rx.add({{kData, 1514, true}});
    vring_used_elem element{};
    ASSERT_TRUE(rx.kick_and_wait(element)) << number;
    EXPECT_EQ(ram_.read(kData + 12, 100), std::string(100, static_cast<char>('a' + number)));
  }
}

TEST_F(NetEngineTest, AFullTapHoldsFramesBackAndLosesNone) {
  GuestDriver tx(ram_, 256, kMergeable, kRam);
  start({tx.vring(1)}, kMergeable);
  constexpr int kFrames = 3000;
  std::thread reader([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    for (int number = 0; number < kFrames; ++number) {
      const auto bytes = get();
      if (bytes.size() != 12 + 8000 || bytes[20] != static_cast<char>(number % 200)) {
        ADD_FAILURE() << number << " " << bytes.size();
        return;
      }
    }
  });
  int outstanding = 0;
  for (int number = 0; number < kFrames; ++number) {
    const auto at = kData + static_cast<uint64_t>(number % 250) * 0x2800;
    if (outstanding == 250) {
      vring_used_elem element{};
      ASSERT_TRUE(tx.wait_used(element));
      --outstanding;
    }
    auto bytes = frame(8000, 0);
    std::ranges::fill(bytes.begin() + 12, bytes.end(), static_cast<char>(number % 200));
    ram_.write(at, bytes);
    tx.add({{at, 8012}});
    ++outstanding;
    tx.doorbell->signal();
  }
  reader.join();
  EXPECT_EQ(counter(3), static_cast<uint64_t>(kFrames));
}

TEST_F(NetEngineTest, StopsInTheMiddleAndGoesOnWithoutALoss) {
  GuestDriver rx(ram_, 64, kMergeable, kRam, 65500);
  uint64_t offered = 0;
  const auto offer = [&] { rx.add({{kData + (offered++ % 60) * 0x1000, 1514, true}}); };
  for (int number = 0; number < 50; ++number) offer();
  int expected = 0;
  for (int round = 0; round < 20; ++round) {
    start({rx.vring(0)}, kMergeable);
    for (int number = 0; number < 7; ++number) put(frame(60, static_cast<char>(round * 7 + number)));
    for (int number = 0; number < 4; ++number, ++expected) {
      vring_used_elem element{};
      ASSERT_TRUE(rx.wait_used(element));
      ASSERT_EQ(ram_.read(kData + (static_cast<uint64_t>(expected) % 60) * 0x1000 + 12, 60),
                std::string(60, static_cast<char>(expected)));
      offer();
    }
    engine_->request_stop();
    const auto position = engine_->finish().front();
    EXPECT_EQ(position.next_available, position.next_used) << "every buffer popped and not used went back";
    rx.layout.next_available = position.next_available;
    rx.layout.next_used = position.next_used;
    for (vring_used_elem element{}; rx.take_used(element); ++expected) offer();
    // What is still in the tap comes after the next start.
    start({rx.vring(0)}, kMergeable);
    while (expected < (round + 1) * 7) {
      vring_used_elem element{};
      ASSERT_TRUE(rx.wait_used(element));
      ++expected;
      offer();
    }
    engine_->request_stop();
    const auto last = engine_->finish().front();
    rx.layout.next_available = last.next_available;
    rx.layout.next_used = last.next_used;
  }
}

TEST_F(NetEngineTest, PairsBeyondTheActiveOnesStayIdle) {
  engine_.reset();
  make_engine(2);
  GuestDriver rx0(ram_, 16, kMergeable, kRam);
  GuestDriver tx0(ram_, 16, kMergeable, kRam + 0x10000);
  GuestDriver rx1(ram_, 16, kMergeable, kRam + 0x20000);
  GuestDriver tx1(ram_, 16, kMergeable, kRam + 0x30000);
  // The wires of this engine are the last two.
  rx1.add({{kData, 1514, true}});
  start({rx0.vring(0), tx0.vring(1), rx1.vring(2), tx1.vring(3)}, kMergeable);
  put(frame(60, 'i'), 2);
  ram_.write(kData + 0x1000, frame(60, 't'));
  tx1.add({{kData + 0x1000, 72}});
  tx1.doorbell->signal();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(rx1.used_index(), 0);
  EXPECT_EQ(tx1.used_index(), 0);
  engine_->set_mode(2);
  vring_used_elem element{};
  EXPECT_TRUE(rx1.wait_used(element));
  EXPECT_TRUE(tx1.wait_used(element));
  EXPECT_EQ(get(2), frame(60, 't'));
}

constexpr uint64_t kHourNs = 3'600'000'000'000;

std::shared_ptr<RateLimiter> operations(uint64_t size, uint64_t refill_ns) {
  const TokenBucket::Limits limits{.size = size, .one_time_burst = 0, .refill_ns = refill_ns};
  return std::make_shared<RateLimiter>(RateLimiter::Limits{.bytes = {}, .operations = limits});
}

TEST_F(NetEngineTest, SendsWhatItsLimiterAllowsAndTheRestLater) {
  const auto limiter = operations(3, kHourNs);
  make_engine(1, {.receive = nullptr, .transmit = limiter});
  GuestDriver tx(ram_, 16, kMergeable, kRam);
  ram_.write(kData, frame(60, 't'));
  for (int number = 0; number < 6; ++number) tx.add({{kData, 72}});
  start({tx.vring(1)}, kMergeable);
  vring_used_elem element{};
  for (int number = 0; number < 3; ++number) ASSERT_TRUE(tx.wait_used(element));
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(tx.used_index(), 3);
  engine_->request_stop();
  const auto position = engine_->finish().front();
  EXPECT_EQ(position.next_available, 3) << "the rest is left in the queue";
  limiter->set_levels({.bytes = {}, .operations = TokenBucket::Level{0, 3}});
  tx.layout.next_available = position.next_available;
  tx.layout.next_used = position.next_used;
  start({tx.vring(1)}, kMergeable);
  for (int number = 0; number < 3; ++number) ASSERT_TRUE(tx.wait_used(element));
  EXPECT_EQ(counter(3), 6u);
}

TEST_F(NetEngineTest, ReceivesWhatItsLimiterAllowsFromAllPairsTogether) {
  make_engine(2, {.receive = operations(3, kHourNs), .transmit = nullptr});
  engine_->set_mode(2);
  GuestDriver rx0(ram_, 16, kMergeable, kRam);
  GuestDriver rx1(ram_, 16, kMergeable, kRam + 0x10000);
  for (auto* rx : {&rx0, &rx1}) {
    for (int number = 0; number < 8; ++number) rx->add({{kData, 1514, true}});
  }
  start({rx0.vring(0), rx1.vring(2)}, kMergeable);
  // The wires of this engine are the last two.
  for (int number = 0; number < 8; ++number) put(frame(60, 'r'), 1);
  while (rx0.used_index() < 3) std::this_thread::yield();
  for (int number = 0; number < 8; ++number) put(frame(60, 'r'), 2);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(rx0.used_index(), 3);
  EXPECT_LE(rx1.used_index(), 1) << "a pair that had asked its limiter before the other took what it allows";
}

TEST_F(NetEngineTest, WakesWhenItsLimiterLetsItGoOn) {
  constexpr uint64_t kMs = 1'000'000;
  make_engine(1, {.receive = operations(2, 20 * kMs), .transmit = operations(5, 20 * kMs)});
  GuestDriver rx(ram_, 64, kMergeable, kRam);
  GuestDriver tx(ram_, 64, kMergeable, kRam + 0x10000);
  const auto begin = std::chrono::steady_clock::now();
  for (int number = 0; number < 10; ++number) rx.add({{kData, 1514, true}});
  for (int number = 0; number < 25; ++number) tx.add({{kData + 0x1000, 72}});
  for (int number = 0; number < 10; ++number) put(frame(60, 'r'), 1);
  start({rx.vring(0), tx.vring(1)}, kMergeable);
  vring_used_elem element{};
  for (int number = 0; number < 10; ++number) ASSERT_TRUE(rx.wait_used(element)) << number;
  for (int number = 0; number < 25; ++number) ASSERT_TRUE(tx.wait_used(element)) << number;
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(80 - 1)) << "both fill four times";
}

TEST_F(NetEngineTest, MalformedQueuesAreReported) {
  GuestDriver rx(ram_, 16, kMergeable, kRam);
  GuestDriver tx(ram_, 16, kMergeable, kRam + 0x10000);
  rx.add({{kData, 11, true}});
  start({rx.vring(0), tx.vring(1)}, kMergeable);
  EXPECT_EQ(wait_failure(), "0: a receive buffer smaller than a header");
  failure_.clear();
  tx.add({{0, 100}});
  tx.doorbell->signal();
  EXPECT_EQ(wait_failure(), "1: a buffer outside guest memory");
}

TEST_F(NetEngineTest, RefusesAQueueWithoutATap) {
  GuestDriver rx(ram_, 16, kMergeable, kRam);
  const auto failure = engine_->start({rx.vring(2)}, kMergeable);
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->queue, 2);
}

TEST_F(NetEngineTest, AllThatItChangesIsMarked) {
  for (const uint64_t features : {kMergeable, kMergeable & ~kFeatureEventIndex}) {
    GuestDriver rx(ram_, 16, features, kRam);
    GuestDriver tx(ram_, 16, features, kRam + 0x10000);
    std::set<uint64_t> expected{rx.layout.used_ring, tx.layout.used_ring};
    for (uint64_t number = 0; number < 8; ++number) {
      rx.add({{kData + number * 0x2000 + 0xf00, 0x800, true}});
      for (const uint64_t page : {0, 0x1000}) expected.insert(kData + number * 0x2000 + page);
    }
    std::memset(ram_.at<char>(kData), 0x55, 0x10000);
    ram_.write(kData + 0x20000, frame(100, 't'));
    tx.add({{kData + 0x20000, 112}});
    const DirtyCheck check(ram_, kRamSize);
    start({rx.vring(0), tx.vring(1)}, features);
    put(frame(0x800 * 8 - 12 - 0x720, 'l'));
    EXPECT_EQ(get(), frame(100, 't'));
    vring_used_elem element{};
    for (int number = 0; number < 8; ++number) ASSERT_TRUE(rx.wait_used(element));
    ASSERT_TRUE(tx.wait_used(element));
    engine_->request_stop();
    engine_->finish();
    // The last buffer has but 0xe0 bytes of the frame.
    expected.erase(kData + 7 * 0x2000 + 0x1000);
    auto changed = check.changed();
    changed.erase(rx.layout.available_ring);
    changed.erase(tx.layout.available_ring);
    EXPECT_EQ(changed, expected);
    EXPECT_EQ(check.marked(), expected);
  }
}

// It lay in guest memory for a while, or a part of it did.
TEST_F(NetEngineTest, AFrameThatIsNeverDeliveredIsMarkedToo) {
  GuestDriver plain(ram_, 16, kFeatureEventIndex, kRam);
  plain.add({{kData, 0x1800, true}});
  auto check = std::make_unique<DirtyCheck>(ram_, kRamSize);
  start({plain.vring(0)}, kFeatureEventIndex);
  put(frame(0x3000, 'x'));
  wait_until_read();
  engine_->request_stop();
  engine_->finish();
  EXPECT_EQ(plain.used_index(), 0) << "dropped";
  auto changed = check->changed();
  EXPECT_EQ(changed.count(kData) + changed.count(kData + 0x1000), 2u);
  // It may have been stopped before or after it asked for a notification.
  auto marked = check->marked();
  changed.insert(plain.layout.used_ring);
  marked.insert(plain.layout.used_ring);
  EXPECT_EQ(marked, changed);

  check.reset();
  GuestDriver merging(ram_, 16, kMergeable, kRam + 0x10000);
  for (uint64_t number = 0; number < 2; ++number) merging.add({{kData + 0x10000 + number * 0x1000, 0x800, true}});
  check = std::make_unique<DirtyCheck>(ram_, kRamSize);
  start({merging.vring(0)}, kMergeable);
  put(frame(0x3000, 'y'));
  wait_until_read();
  engine_->request_stop();
  engine_->finish();
  EXPECT_EQ(merging.used_index(), 0) << "it would need a third buffer";
  changed = check->changed();
  EXPECT_EQ(changed.count(kData + 0x10000) + changed.count(kData + 0x11000), 2u);
  marked = check->marked();
  changed.insert(merging.layout.used_ring);
  marked.insert(merging.layout.used_ring);
  EXPECT_EQ(marked, changed);
}

}  // namespace
}  // namespace tsvmm
