#include "napi/memory_image_binding.h"

#include <optional>
#include <string>
#include <utility>

#include "napi/addon_data.h"
#include "napi/arguments.h"
#include "napi/memory_binding.h"

namespace tsvmm {

namespace {

constexpr uint32_t kMaximumLayers = 1000;

std::shared_ptr<const ImageReader> read_layer(Napi::Value value, uint32_t number) {
  const auto env = value.Env();
  if (!value.IsObject()) {
    Napi::TypeError::New(env, "a layer must be an object").ThrowAsJavaScriptException();
    return nullptr;
  }
  const auto object = value.As<Napi::Object>();
  const auto fd = read_uint(object.Get("fd"), "fd", INT32_MAX);
  if (!fd) return nullptr;
  const auto bytes = read_bytes(object.Get("index"), "index");
  if (!bytes) return nullptr;
  const auto place = "layer " + std::to_string(number) + ": ";
  auto index = ImageIndex::parse(std::as_bytes(*bytes));
  if (!index) return make_failure(env, index.failure(), place).ThrowAsJavaScriptException(), nullptr;
  auto reader = ImageReader::open(static_cast<int>(*fd), std::move(index).value());
  if (!reader) return make_failure(env, reader.failure(), place).ThrowAsJavaScriptException(), nullptr;
  return std::move(reader).value();
}

bool read_map_options(Napi::Object object, MappingOptions& options) {
  if (const auto node = object.Get("hostNumaNode"); !node.IsUndefined()) {
    const auto number = read_uint(node, "hostNumaNode", 4095);
    if (!number) return false;
    options.host_numa_node = static_cast<int>(*number);
  }
  options.mergeable = read_flag_property(object, "mergeable", false);
  options.prefault = read_flag_property(object, "prefault", false);
  options.thp = read_flag_property(object, "thp", false);
  options.reserve = read_flag_property(object, "reserve", true);
  return true;
}

}  // namespace

void MemoryImageBinding::define(Napi::Env env, Napi::Object exports) {
  const auto constructor = DefineClass(
      env, "MemoryImage",
      {InstanceAccessor<&MemoryImageBinding::pages>("pages"), InstanceMethod<&MemoryImageBinding::load>("load"),
       InstanceMethod<&MemoryImageBinding::verify>("verify"), InstanceMethod<&MemoryImageBinding::map>("map"),
       InstanceMethod<&MemoryImageBinding::counts>("counts"), InstanceMethod<&MemoryImageBinding::progress>("progress"),
       InstanceMethod<&MemoryImageBinding::cancel>("cancel"), InstanceMethod<&MemoryImageBinding::close>("close")});
  addon_data(env).memory_image = Napi::Persistent(constructor);
  exports.Set("MemoryImage", constructor);
}

MemoryImageBinding::MemoryImageBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto env = info.Env();
  if (!info[0].IsArray()) {
    Napi::TypeError::New(env, "layers must be an array").ThrowAsJavaScriptException();
    return;
  }
  const auto array = info[0].As<Napi::Array>();
  if (array.Length() > kMaximumLayers) {
    Napi::RangeError::New(env, "too many layers").ThrowAsJavaScriptException();
    return;
  }
  ImageChain::Layers layers;
  for (uint32_t number = 0; number < array.Length(); ++number) {
    auto layer = read_layer(array.Get(number), number);
    if (!layer) return;
    layers.push_back(std::move(layer));
  }
  auto opened = ImageChain::open(std::move(layers));
  if (!opened) {
    throw_failure(env, opened.failure());
    return;
  }
  chain_ = std::move(opened).value();
}

Napi::Value MemoryImageBinding::pages(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), chain_ ? static_cast<double>(chain_->pages()) : 0);
}

Napi::Value MemoryImageBinding::load(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!chain_) return throw_closed(env, "MemoryImage"), env.Undefined();
  const auto memory = read_guest_memory(info[0], "memory");
  if (!memory) return env.Undefined();
  const auto threads = read_uint(info[1], "threads", kMaximumImageThreads);
  if (!threads) return env.Undefined();
  return job_.start(env, [chain = chain_, memory, threads = static_cast<unsigned>(*threads)](SpanJob& job) {
    return load_image(*chain, *memory, threads, job);
  });
}

Napi::Value MemoryImageBinding::verify(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!chain_) return throw_closed(env, "MemoryImage"), env.Undefined();
  const auto threads = read_uint(info[0], "threads", kMaximumImageThreads);
  if (!threads) return env.Undefined();
  return job_.start(env, [chain = chain_, threads = static_cast<unsigned>(*threads)](SpanJob& job) {
    return verify_image(*chain, threads, job);
  });
}

Napi::Value MemoryImageBinding::map(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!chain_) return throw_closed(env, "MemoryImage"), env.Undefined();
  const auto first = read_uint(info[0], "firstPage", chain_->pages());
  if (!first) return env.Undefined();
  const auto pages = read_uint(info[1], "pages", chain_->pages());
  if (!pages) return env.Undefined();
  MappingOptions options{.size = *pages * kPageBytes};
  if (!info[2].IsUndefined()) {
    if (!info[2].IsObject()) {
      return Napi::TypeError::New(env, "options must be an object").ThrowAsJavaScriptException(), env.Undefined();
    }
    if (!read_map_options(info[2].As<Napi::Object>(), options)) return env.Undefined();
  }
  auto mapped = map_layers(*chain_, *first, options, budget_);
  if (!mapped) return throw_failure(env, mapped.failure()), env.Undefined();
  return MappingBinding::wrap(env, std::move(mapped).value());
}

Napi::Value MemoryImageBinding::counts(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!chain_) return throw_closed(env, "MemoryImage"), env.Undefined();
  const auto& index = chain_->layers().front()->index();
  auto counts = Napi::Object::New(env);
  counts.Set("present", Napi::Number::New(env, static_cast<double>(index.present.count())));
  counts.Set("data", Napi::Number::New(env, static_cast<double>(index.data.count())));
  return counts;
}

Napi::Value MemoryImageBinding::progress(const Napi::CallbackInfo& info) { return job_.progress(info.Env()); }

void MemoryImageBinding::cancel(const Napi::CallbackInfo&) { job_.cancel(); }

void MemoryImageBinding::close(const Napi::CallbackInfo&) {
  job_.cancel();
  chain_.reset();
}

}  // namespace tsvmm
