// Calls the kernels on arguments from a file, and writes them back as the kernels left them: for processors that are
// emulated, where there is no Python.
//
// The file: how many calls; of each the name's length and the name, struct Call, how many tensors, and of each its
// length in bytes and itself. Numbers are int64. What comes back are the status of each call and its tensors' bytes.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

typedef int Kernel(const void *call, void *const *addresses);
extern "C" Kernel cos_eval, cos_deployed, cos_train, cos_train_backward;

static void read(FILE *file, void *to, size_t size) {
  if (fread(to, 1, size, file) != size) exit(2);
}

static int64_t number(FILE *file) {
  int64_t value;
  read(file, &value, sizeof value);
  return value;
}

int main(int, char **arguments) {
  const std::map<std::string, Kernel *> kernels = {{"cos_eval", cos_eval},
                                                   {"cos_deployed", cos_deployed},
                                                   {"cos_train", cos_train},
                                                   {"cos_train_backward", cos_train_backward}};
  FILE *in = fopen(arguments[1], "rb"), *out = fopen(arguments[2], "wb");
  if (!in || !out) return 1;
  for (int64_t calls = number(in); calls > 0; --calls) {
    std::string name(number(in), ' '), call(number(in), ' ');
    read(in, &name[0], name.size());
    read(in, &call[0], call.size());
    std::vector<std::vector<char>> tensors(number(in));
    std::vector<void *> addresses;
    for (auto &tensor : tensors) {
      tensor.resize(number(in));
      read(in, tensor.data(), tensor.size());
      addresses.push_back(tensor.empty() ? nullptr : tensor.data());
    }
    const int64_t status = kernels.at(name)(call.data(), addresses.data());
    fwrite(&status, sizeof status, 1, out);
    for (auto &tensor : tensors) fwrite(tensor.data(), 1, tensor.size(), out);
  }
  return fclose(out);
}
