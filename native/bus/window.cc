#include "bus/window.h"

#include <ctime>

namespace tsvmm {

namespace {

constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * kNanosecondsPerSecond + static_cast<uint64_t>(now.tv_nsec);
}

bool has_valid_ecam(const RegisterSpan& span, uint64_t window_size) {
  if (span.read != RegisterSpan::Read::kEcam && span.write != RegisterSpan::Write::kEcam) return true;
  // The register that selects is the window's first; a bus has 1 MiB of configuration space.
  return window_size >= sizeof(uint32_t) && span.length <= sizeof(uint32_t) && span.ecam_buses >= 1 &&
         span.ecam_buses <= 256 && span.ecam_address <= UINT64_MAX - (uint64_t{256} << 20);
}

bool has_valid_table(const RegisterSpan& span, uint64_t window_size) {
  if (span.read != RegisterSpan::Read::kIndexed) return true;
  return span.length == sizeof(uint32_t) && span.table_offset % sizeof(uint32_t) == 0 && span.table_entries != 0 &&
         span.table_offset + uint64_t{span.table_entries} * sizeof(uint32_t) <= window_size;
}

bool has_valid_mask(const RegisterSpan& span) {
  if (span.mask.empty()) return true;
  if (span.read == RegisterSpan::Read::kIndexed) return span.mask.size() == span.table_entries * sizeof(uint32_t);
  return span.mask.size() == span.length;
}

bool are_valid(const std::vector<RegisterSpan>& spans, uint64_t window_size) {
  uint64_t end = 0;
  for (const auto& span : spans) {
    if (span.length == 0 || span.offset < end) return false;
    end = uint64_t{span.offset} + span.length;
    if (end > window_size) return false;
    if (!has_valid_ecam(span, window_size) || !has_valid_table(span, window_size)) return false;
    if (!has_valid_mask(span)) return false;
    if (span.read == RegisterSpan::Read::kClock && (span.clock_hertz == 0 || span.clock_hertz > kNanosecondsPerSecond ||
                                                    span.clock_bits == 0 || span.clock_bits > 64)) {
      return false;
    }
  }
  return true;
}

template <typename Word>
bool is_aligned(const uint8_t* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % sizeof(Word) == 0;
}

template <typename Word>
std::atomic_ref<Word> word_at(uint8_t* pointer) {
  // SAFETY: callers have checked bounds and alignment; the bytes are only ever accessed as registers.
  return std::atomic_ref<Word>(*reinterpret_cast<Word*>(pointer));
}

template <typename Word>
void store_masked(uint8_t* pointer, Word value, Word mask) {
  auto word = word_at<Word>(pointer);
  auto old = word.load(std::memory_order_relaxed);
  while (!word.compare_exchange_weak(old, static_cast<Word>((old & ~mask) | (value & mask)), std::memory_order_release,
                                     std::memory_order_relaxed)) {
  }
}

}  // namespace

uint64_t TickCounter::ticks(uint64_t hertz) const {
  std::lock_guard lock(mutex_);
  const auto elapsed = monotonic_ns() - anchor_ns_;
  // Whole seconds apart from the rest, so that nothing overflows within 500 years at 1 GHz.
  return anchor_ticks_ + elapsed / kNanosecondsPerSecond * hertz +
         elapsed % kNanosecondsPerSecond * hertz / kNanosecondsPerSecond;
}

void TickCounter::set(uint64_t ticks) {
  std::lock_guard lock(mutex_);
  anchor_ticks_ = ticks;
  anchor_ns_ = monotonic_ns();
}

Result<std::shared_ptr<Window>> Window::create(uint32_t id, std::span<uint8_t> bytes, std::vector<RegisterSpan> spans) {
  if (bytes.empty() || bytes.size() > UINT32_MAX || !are_valid(spans, bytes.size())) {
    return Failure{EINVAL, "map window"};
  }
  auto shared = std::make_shared<const std::vector<RegisterSpan>>(std::move(spans));
  std::shared_ptr<Window> window(new Window(id, bytes, std::move(shared)));
  window->clock_.set(0);
  return window;
}

Window::Spans Window::spans() const {
  std::lock_guard lock(mutex_);
  return spans_;
}

Result<> Window::set_spans(std::vector<RegisterSpan> spans) {
  if (!are_valid(spans, bytes_.size())) return Failure{EINVAL, "set spans"};
  auto shared = std::make_shared<const std::vector<RegisterSpan>>(std::move(spans));
  std::lock_guard lock(mutex_);
  spans_.swap(shared);
  return Unit{};
}

uint32_t Window::load(uint32_t offset, uint32_t width) const {
  auto* pointer = bytes_.data() + offset;
  if (width == 4 && is_aligned<uint32_t>(pointer)) return word_at<uint32_t>(pointer).load(std::memory_order_acquire);
  if (width == 2 && is_aligned<uint16_t>(pointer)) return word_at<uint16_t>(pointer).load(std::memory_order_acquire);
  uint32_t value = 0;
  for (uint32_t index = 0; index < width; ++index) {
    value |= uint32_t{word_at<uint8_t>(pointer + index).load(std::memory_order_acquire)} << (8 * index);
  }
  return value;
}

void Window::store(uint32_t offset, uint32_t width, uint32_t value, uint32_t mask) {
  auto* pointer = bytes_.data() + offset;
  if (width == 4 && is_aligned<uint32_t>(pointer)) return store_masked<uint32_t>(pointer, value, mask);
  if (width == 2 && is_aligned<uint16_t>(pointer)) {
    return store_masked(pointer, static_cast<uint16_t>(value), static_cast<uint16_t>(mask));
  }
  for (uint32_t index = 0; index < width; ++index) {
    store_masked(pointer + index, static_cast<uint8_t>(value >> (8 * index)),
                 static_cast<uint8_t>(mask >> (8 * index)));
  }
}

}  // namespace tsvmm
