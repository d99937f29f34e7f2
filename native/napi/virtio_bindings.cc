#include "napi/virtio_bindings.h"

namespace tsvmm {

void define_virtio(Napi::Env, Napi::Object) {}

}  // namespace tsvmm
