// An allocator that puts memory between pages that nobody may touch: for LD_PRELOAD, on Linux with glibc.
//
// Every allocation with an alignment (torch's tensors, the kernels' scratch) and every other of GUARD_LEAST bytes or more
// has pages of its own. GUARD_SIDE=behind: it ends where a forbidden page begins, to its alignment; GUARD_SIDE=before: it
// begins where one ends. An access beyond is a SIGSEGV at the very instruction, whoever made it. The rest of the pages
// holds a pattern, which is looked at when the memory is freed: SIGABRT where it has changed. Freed memory is forbidden
// too, until others of its size are freed: 64, or as many as are 32 MB. New memory is filled with bytes that are NaN as
// numbers.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

// Slots of class k are of 2^k pages, each with a forbidden page behind it, as is the first page of the class.
enum { CLASSES = 21, MOST_WAITING = 64, WAITING_BYTES = 32 << 20, PATTERN = 0xA5, FILL = 0xFF };
static const size_t PAGE = 4096, CLASS_BYTES = (size_t)1 << 37;

typedef struct {
  char *pointer;  // NULL: free
  size_t size, next;
} Slot;

typedef struct {
  Slot *slots;
  size_t made, first_freed, last_freed, freed;
} Class;

static char *region;
static Class classes[CLASSES];
static size_t least = 4096;
static int behind = 1;
static atomic_size_t guarded, unguarded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void take(void) { pthread_mutex_lock(&lock); }
static void release(void) { pthread_mutex_unlock(&lock); }

static void *reserve(size_t bytes, int access) {
  void *at = mmap(NULL, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? NULL : at;
}

__attribute__((constructor)) static void start(void) {
  const char *side = getenv("GUARD_SIDE"), *bytes = getenv("GUARD_LEAST");
  behind = !side || strcmp(side, "before") != 0;
  if (bytes) least = strtoull(bytes, NULL, 10);
  char *all = reserve(CLASSES * CLASS_BYTES, PROT_NONE);
  for (int k = 0; all && k < CLASSES; ++k) {
    classes[k].slots = reserve(CLASS_BYTES / PAGE / (((size_t)1 << k) + 1) * sizeof(Slot), PROT_READ | PROT_WRITE);
    if (!classes[k].slots) all = NULL;
  }
  if (!all) {
    static const char text[] = "guard: the address space cannot be reserved\n";
    if (write(2, text, sizeof text - 1)) _exit(1);
  }
  pthread_atfork(take, release, release);
  region = all;
}

// What the driver reads: how many allocations were guarded, and how many could not be.
size_t guard_guarded(void) { return guarded; }
size_t guard_unguarded(void) { return unguarded; }

static size_t stride_of(int k) { return (((size_t)1 << k) + 1) * PAGE; }

static int is_ours(const void *pointer) {
  return region && (const char *)pointer >= region && (const char *)pointer < region + CLASSES * CLASS_BYTES;
}

static Slot *slot_of(const void *pointer, int *k, char **begin) {
  const size_t at = (const char *)pointer - region;
  *k = at / CLASS_BYTES;
  const size_t index = (at % CLASS_BYTES - PAGE) / stride_of(*k);
  *begin = region + *k * CLASS_BYTES + PAGE + index * stride_of(*k);
  return classes[*k].slots + index;
}

static char *page_of(char *pointer) { return (char *)((uintptr_t)pointer / PAGE * PAGE); }
static char *page_after(char *pointer) { return (char *)(((uintptr_t)pointer + PAGE - 1) / PAGE * PAGE); }

static void fault(const char *what, const void *pointer, size_t size) {
  char text[160];
  const int length = snprintf(text, sizeof text, "guard: %s of the memory at %p of %zu bytes\n", what, pointer, size);
  if (write(2, text, length) < length) abort();
  abort();
}

// NULL where there is no room for a slot; the caller then asks glibc.
static void *guarded_memory(size_t alignment, size_t size) {
  if (alignment < 16) alignment = 16;
  const size_t most = size + (alignment > PAGE ? alignment : 0);
  int k = 0;
  while (k < CLASSES && (PAGE << k) < most) ++k;
  if (!region || k == CLASSES) return NULL;
  Class *class = classes + k;
  take();
  size_t index = class->made;
  const size_t waiting = WAITING_BYTES / (PAGE << k);
  if (class->freed > (waiting < MOST_WAITING ? waiting : MOST_WAITING)) {
    index = class->first_freed;
    class->first_freed = class->slots[index].next;
    --class->freed;
  } else if ((index + 1) * stride_of(k) + PAGE > CLASS_BYTES) {
    release();
    return NULL;
  } else {
    ++class->made;
  }
  release();
  char *begin = region + k * CLASS_BYTES + PAGE + index * stride_of(k), *end = begin + (PAGE << k);
  char *pointer = (char *)(behind ? (uintptr_t)(end - size) & ~(alignment - 1)
                                  : ((uintptr_t)begin + alignment - 1) & ~(alignment - 1));
  char *first = page_of(pointer), *last = page_after(pointer + (size ? size : 1));
  if (mprotect(first, last - first, PROT_READ | PROT_WRITE)) return NULL;  // the slot is lost; so are others by then
  memset(first, PATTERN, pointer - first);
  memset(pointer, FILL, size);
  memset(pointer + size, PATTERN, last - (pointer + size));
  class->slots[index].size = size;
  class->slots[index].pointer = pointer;
  ++guarded;
  return pointer;
}

static void free_guarded(void *pointer) {
  int k;
  char *begin;
  Slot *slot = slot_of(pointer, &k, &begin);
  const size_t size = slot->size;
  if (slot->pointer != pointer) fault("no allocation, or freed twice: free", pointer, size);
  char *first = page_of(pointer), *end = (char *)pointer + size, *last = page_after(end + !size);
  for (char *at = first; at < (char *)pointer; ++at)
    if (*(unsigned char *)at != PATTERN) fault("bytes were written in front", pointer, size);
  for (char *at = end; at < last; ++at)
    if (*(unsigned char *)at != PATTERN) fault("bytes were written behind the end", pointer, size);
  if (mprotect(first, last - first, PROT_NONE)) fault("no way to forbid the pages", pointer, size);
  Class *class = classes + k;
  const size_t index = slot - class->slots;
  slot->pointer = NULL;
  take();
  if (class->freed++)
    class->slots[class->last_freed].next = index;
  else
    class->first_freed = index;
  class->last_freed = index;
  release();
}

static void *aligned(size_t alignment, size_t size) {
  void *pointer = guarded_memory(alignment, size);
  if (pointer) return pointer;
  ++unguarded;
  return __libc_memalign(alignment, size);
}

void *malloc(size_t size) {
  void *pointer = size >= least ? guarded_memory(16, size) : NULL;
  return pointer ? pointer : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  size_t bytes;
  if (!region || __builtin_mul_overflow(count, size, &bytes) || bytes < least) return __libc_calloc(count, size);
  void *pointer = guarded_memory(16, bytes);
  return pointer ? memset(pointer, 0, bytes) : __libc_calloc(count, size);
}

void free(void *pointer) {
  const int before = errno;
  if (is_ours(pointer))
    free_guarded(pointer);
  else
    __libc_free(pointer);
  errno = before;
}

void *realloc(void *pointer, size_t size) {
  if (!is_ours(pointer)) return __libc_realloc(pointer, size);
  if (!size) {
    free(pointer);
    return NULL;
  }
  int k;
  char *begin;
  const size_t had = slot_of(pointer, &k, &begin)->size;
  void *other = malloc(size);
  if (!other) return NULL;
  memcpy(other, pointer, had < size ? had : size);
  free(pointer);
  return other;
}

int posix_memalign(void **pointer, size_t alignment, size_t size) {
  *pointer = aligned(alignment, size);
  return *pointer ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t size) { return aligned(alignment, size); }
void *memalign(size_t alignment, size_t size) { return aligned(alignment, size); }

size_t malloc_usable_size(void *pointer) {
  int k;
  char *begin;
  if (is_ours(pointer)) return slot_of(pointer, &k, &begin)->size;
  return ((size_t (*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size"))(pointer);
}
