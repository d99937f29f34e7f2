#include "virtio/net_pair.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>
#include <utility>

#include "io/pieces.h"
#include "virtio/net_spec.h"

namespace tsvmm {

namespace {

constexpr size_t kHeaderBytes = sizeof(NetHeader);
// The longest frame with and without segmentation offload (§5.1.6.3.1).
constexpr size_t kLargeFrame = 65562;
constexpr size_t kSmallFrame = 1526;
constexpr size_t kOverflow = 68 * 1024;

// One turn for a direction before the other one has its own.
constexpr int kFramesPerTurn = 256;
constexpr uint64_t kNsPerSecond = 1'000'000'000;
// Within a turn, what is done becomes visible this often: the guest goes on while we copy.
constexpr int kFramesPerPublish = 16;
constexpr size_t kBytesPerPublish = 64 * 1024;
// While looking for work, a look at the tap is a system call: one in so many.
constexpr unsigned kRoundsPerTapLook = 64;

bool has_feature(uint64_t features, unsigned bit) { return (features >> bit & 1) != 0; }

bool receives_large_frames(uint64_t features) {
  for (const auto bit : {kNetGuestTso4, kNetGuestTso6, kNetGuestUfo, kNetGuestUso4, kNetGuestUso6}) {
    if (has_feature(features, bit)) return true;
  }
  return false;
}

// Makes what was done visible now and then within a turn, and at its end.
class Publisher {
 public:
  explicit Publisher(NetQueue& queue) : queue_(queue) {}
  ~Publisher() { queue_.publish(); }
  void count(size_t bytes) {
    ++frames_;
    bytes_ += bytes;
    if (frames_ < kFramesPerPublish && bytes_ < kBytesPerPublish) return;
    queue_.publish();
    frames_ = 0;
    bytes_ = 0;
  }

 private:
  NetQueue& queue_;
  int frames_ = 0;
  size_t bytes_ = 0;
};

}  // namespace

NetPair::NetPair(EventFd wake, UniqueFd epoll, NetShared& shared, Options options, OnFailure on_failure)
    : Worker(std::move(wake)),
      shared_(shared),
      options_(std::move(options)),
      on_failure_(std::move(on_failure)),
      epoll_(std::move(epoll)),
      poll_(default_poll_ns()),
      mergeable_(has_feature(options_.features, kNetMergeableBuffers)),
      wanted_bytes_(receives_large_frames(options_.features) ? kLargeFrame : kSmallFrame),
      overflow_(kOverflow) {}

Result<> NetPair::watch_events() {
  // Edge-triggered: doorbells need not be read, and the tap is read until it is empty.
  const auto add = [this](int fd) {
    epoll_event event{.events = EPOLLET | EPOLLIN, .data = {.fd = fd}};
    return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  };
  if (!add(wake_event().get())) return last_failure("epoll_ctl");
  if (options_.receive && !add(options_.receive->vring.doorbell->get())) return last_failure("epoll_ctl");
  if (options_.transmit && !add(options_.transmit->vring.doorbell->get())) return last_failure("epoll_ctl");
  epoll_event tap{.events = EPOLLET, .data = {.fd = options_.tap}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, options_.tap, &tap) != 0) return last_failure("epoll_ctl");
  return Unit{};
}

void NetPair::add_positions(std::vector<VringPosition>& positions) const {
  for (const auto* queue : {&options_.receive, &options_.transmit}) {
    if (!*queue) continue;
    positions.push_back({(*queue)->vring.index, (*queue)->queue.next_available(), (*queue)->queue.next_used()});
  }
}

void NetPair::run() {
  // The wrong way round, so that the tap is told in any case.
  active_ = options_.number >= shared_.active_pairs.load();
  heed_active_pairs();
  disable_notifications();
  while (!is_stopping()) {
    bool progress = false;
    if (active_) {
      progress = transmit();
      progress |= receive();
    }
    if (!progress) rest();
  }
  give_back_unused();
}

void NetPair::rest() {
  unsigned round = 0;
  if (active_ && poll_.look([&] { return is_stopping() || look_for_work(++round); })) return;
  if (enable_notifications()) return disable_notifications();
  sleep();
  if (active_) poll_.slept();
  disable_notifications();
  heed_active_pairs();
  adopt_memory();
}

bool NetPair::look_for_work(unsigned round) {
  if (options_.transmit && takes_frames() && options_.transmit->queue.has_available()) return true;
  if (!options_.receive || options_.receive->failed || options_.receive->wait_ns != 0) return false;
  if (is_starved()) return options_.receive->queue.has_available();
  if (round % kRoundsPerTapLook != 0) return false;
  tap_readable_ = true;
  return receive();
}

void NetPair::disable_notifications() {
  if (options_.transmit) options_.transmit->queue.disable_notifications();
  if (options_.receive) options_.receive->queue.disable_notifications();
}

// Whether a frame of the driver's would be sent.
bool NetPair::takes_frames() const { return !outgoing_waits_ && options_.transmit->wait_ns == 0; }

// True where there is something to do already. While the tap is full, or buffers are left, a notification is of no use.
bool NetPair::enable_notifications() {
  if (!active_) return false;
  bool available = false;
  if (options_.transmit && takes_frames()) available |= options_.transmit->queue.enable_notifications();
  if (options_.receive && is_starved()) available |= options_.receive->queue.enable_notifications();
  return available;
}

void NetPair::watch_tap() {
  uint32_t events = EPOLLET;
  const auto& receive = options_.receive;
  if (active_ && receive && !receive->failed && receive->wait_ns == 0 && !is_starved()) events |= EPOLLIN;
  if (active_ && outgoing_waits_) events |= EPOLLOUT;
  if (events == tap_events_) return;
  // Changing it makes the kernel look again, so that nothing that came in between is missed.
  epoll_event event{.events = events, .data = {.fd = options_.tap}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, options_.tap, &event) == 0) tap_events_ = events;
}

void NetPair::sleep() {
  constexpr int kSources = 4;
  watch_tap();
  epoll_event events[kSources];
  const auto limited = limited_ns();
  if (limited != 0) {
    const timespec timeout{.tv_sec = static_cast<time_t>(limited / kNsPerSecond),
                           .tv_nsec = static_cast<long>(limited % kNsPerSecond)};
    pollfd any{epoll_.get(), POLLIN, 0};
    ppoll(&any, 1, &timeout, nullptr);
  }
  const int count = epoll_wait(epoll_.get(), events, kSources, limited != 0 ? 0 : -1);
  for (int number = 0; number < count; ++number) {
    if (events[number].data.fd != options_.tap) continue;
    tap_readable_ |= (events[number].events & EPOLLIN) != 0;
    tap_writable_ |= (events[number].events & EPOLLOUT) != 0;
  }
}

uint64_t NetPair::limited_ns() const {
  uint64_t shortest = 0;
  for (const auto* queue : {&options_.receive, &options_.transmit}) {
    if (!active_ || !*queue || (*queue)->failed || (*queue)->wait_ns == 0) continue;
    shortest = shortest == 0 ? (*queue)->wait_ns : std::min(shortest, (*queue)->wait_ns);
  }
  return shortest;
}

void NetPair::adopt_memory() {
  const auto adopt = [](Virtqueue& queue) {
    queue.adopt_memory();
    queue.release_memory();
  };
  if (options_.transmit && !outgoing_waits_ && options_.transmit->queue.memory_changed()) {
    adopt(options_.transmit->queue);
  }
  if (options_.receive && frame_bytes_ == 0 && options_.receive->queue.memory_changed()) {
    give_back_unused();
    adopt(options_.receive->queue);
  }
}

void NetPair::heed_active_pairs() {
  const bool active = options_.number < shared_.active_pairs.load();
  if (active == active_) return;
  active_ = active;
  // Else the kernel would go on putting frames into the queue of an idle pair. Taps with one queue know no such thing.
  ifreq request{};
  request.ifr_flags = active ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
  ioctl(options_.tap, TUNSETQUEUE, &request);
  tap_readable_ = true;
  tap_writable_ = true;
  give_back_unused();
}

void NetPair::give_back_unused() {
  if (options_.receive) options_.receive->queue.unpop(static_cast<uint16_t>(buffers_.size()));
  buffers_.clear();
  buffer_bytes_ = 0;
  frame_bytes_ = 0;
  if (std::exchange(outgoing_waits_, false)) options_.transmit->queue.unpop(1);
}

void NetPair::fail(NetQueue& queue, const char* reason, const OnFailure& on_failure) {
  if (!std::exchange(queue.failed, true)) on_failure(queue.vring.index, reason);
}

bool NetPair::is_limited(NetQueue& queue, const std::shared_ptr<RateLimiter>& limiter) {
  queue.wait_ns = limiter ? limiter->wait_ns() : 0;
  return queue.wait_ns != 0;
}

bool NetPair::transmit() {
  if (!options_.transmit || options_.transmit->failed) return false;
  auto& queue = *options_.transmit;
  if (outgoing_waits_ && !tap_writable_) return false;
  Publisher publisher(queue);
  bool progress = false;
  for (int frame = 0; frame < kFramesPerTurn && !is_limited(queue, shared_.transmit_limiter); ++frame) {
    if (!std::exchange(outgoing_waits_, false)) {
      const auto popped = queue.queue.pop(outgoing_);
      if (popped == Virtqueue::Pop::kBroken) fail(queue, queue.queue.failure(), on_failure_);
      if (popped != Virtqueue::Pop::kChain) break;
    }
    if (!send(outgoing_)) {
      outgoing_waits_ = true;
      tap_writable_ = false;
      break;
    }
    queue.queue.push(outgoing_.head, 0);
    publisher.count(outgoing_.readable_bytes);
    progress = true;
  }
  return progress;
}

bool NetPair::send(Chain& chain) {
  const auto pieces = chain.readable();
  // A frame that is none, or that the host does not take, is lost as on any wire.
  if (chain.readable_bytes <= kHeaderBytes || pieces.size() > IOV_MAX) return true;
  ssize_t written = -1;
  do {
    written = writev(options_.tap, pieces.data(), static_cast<int>(pieces.size()));
  } while (written < 0 && errno == EINTR);
  if (written < 0) return errno != EAGAIN;
  if (shared_.transmit_limiter) shared_.transmit_limiter->take(chain.readable_bytes - kHeaderBytes, 1);
  shared_.transmit_bytes.fetch_add(chain.readable_bytes - kHeaderBytes, std::memory_order_relaxed);
  shared_.transmit_frames.fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool NetPair::receive() {
  if (!options_.receive || options_.receive->failed) return false;
  auto& queue = *options_.receive;
  Publisher publisher(queue);
  bool progress = false;
  for (int frame = 0; frame < kFramesPerTurn; ++frame) {
    if (frame_bytes_ == 0) {
      if (is_limited(queue, shared_.receive_limiter)) break;
      if (!tap_readable_ || !gather_buffers() || !read_frame()) break;
    }
    const auto bytes = frame_bytes_;
    if (!deliver()) break;
    publisher.count(bytes);
    progress = true;
  }
  return progress;
}

bool NetPair::take_buffer() {
  auto& queue = *options_.receive;
  if (spare_.empty()) spare_.emplace_back();
  const auto popped = queue.queue.pop(spare_.back());
  if (popped == Virtqueue::Pop::kEmpty) return false;
  if (popped == Virtqueue::Pop::kBroken) {
    fail(queue, queue.queue.failure(), on_failure_);
    return false;
  }
  if (spare_.back().writable_bytes < kHeaderBytes) {
    queue.queue.give_up("a receive buffer smaller than a header");
    fail(queue, queue.queue.failure(), on_failure_);
    return false;
  }
  buffer_bytes_ += spare_.back().writable_bytes;
  buffers_.push_back(std::move(spare_.back()));
  spare_.pop_back();
  return true;
}

bool NetPair::gather_buffers() {
  if (!mergeable_) return !buffers_.empty() || take_buffer();
  while (buffer_bytes_ < wanted_bytes_ && take_buffer()) {
  }
  return !buffers_.empty();
}

bool NetPair::read_frame() {
  pieces_.clear();
  size_t room = 0;
  for (auto& chain : buffers_) {
    for (const auto& piece : chain.writable()) {
      if (pieces_.size() == IOV_MAX - 1) break;
      pieces_.push_back(piece);
      room += piece.iov_len;
    }
    if (room >= wanted_bytes_) break;
  }
  pieces_.push_back({overflow_.data(), overflow_.size()});
  ssize_t count = -1;
  do {
    count = readv(options_.tap, pieces_.data(), static_cast<int>(pieces_.size()));
  } while (count < 0 && errno == EINTR);
  // Now, as the frame may never be delivered, and with deliver() again, which writes more.
  if (count > 0) mark_placed(std::min(static_cast<size_t>(count), room));
  // Nothing there, or a tap that is down or gone: the next event tells.
  if (count < static_cast<ssize_t>(kHeaderBytes)) {
    tap_readable_ = false;
    return false;
  }
  frame_bytes_ = static_cast<size_t>(count);
  if (shared_.receive_limiter) shared_.receive_limiter->take(frame_bytes_ - kHeaderBytes, 1);
  frame_placed_ = std::min(frame_bytes_, room);
  return true;
}

// The first bytes of the buffers, in the order in which a frame fills them.
void NetPair::mark_placed(size_t bytes) {
  for (const auto& chain : buffers_) {
    if (bytes == 0) return;
    const auto part = std::min<size_t>(chain.writable_bytes, bytes);
    options_.receive->queue.mark_written(chain, part);
    bytes -= part;
  }
}

bool NetPair::deliver() {
  auto& queue = *options_.receive;
  size_t covered = 0;
  size_t chains = 0;
  const auto spilled = frame_bytes_ - frame_placed_;
  while (chains < buffers_.size() && covered < frame_bytes_) covered += buffers_[chains++].writable_bytes;
  while (covered < frame_bytes_) {
    // A frame that no number of buffers can hold is lost.
    if (!mergeable_ || buffers_.size() >= queue.queue.size()) {
      frame_bytes_ = 0;
      return true;
    }
    if (!take_buffer()) return false;
    covered += buffers_[chains++].writable_bytes;
  }
  const auto count = static_cast<uint16_t>(chains);
  copy_to_pieces(buffers_.front().writable(), offsetof(NetHeader, num_buffers), &count, sizeof(count));
  // What was placed is in the first buffers in one run; the overflow goes on from there.
  size_t position = 0;
  for (size_t number = 0; number < chains; ++number) {
    auto& chain = buffers_.front();
    const auto bytes = std::min<size_t>(chain.writable_bytes, frame_bytes_ - position);
    if (spilled != 0 && position + bytes > frame_placed_) {
      const auto start = std::max(position, frame_placed_);
      copy_to_pieces(chain.writable(), start - position, overflow_.data() + (start - frame_placed_),
                     position + bytes - start);
    }
    queue.queue.mark_written(chain, bytes);
    queue.queue.push(chain.head, static_cast<uint32_t>(bytes));
    position += bytes;
    buffer_bytes_ -= chain.writable_bytes;
    spare_.push_back(std::move(chain));
    buffers_.pop_front();
  }
  shared_.receive_bytes.fetch_add(frame_bytes_ - kHeaderBytes, std::memory_order_relaxed);
  shared_.receive_frames.fetch_add(1, std::memory_order_relaxed);
  frame_bytes_ = 0;
  return true;
}

}  // namespace tsvmm
