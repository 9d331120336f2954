"""What the site does otherwise than MkDocs: anchors are GitHub's, and links out of docs/ lead to the repository."""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_UPWARD = re.compile(r'(?<!!)\[([^\]]+)\]\((\.\./[^)\s]*)\)')


def outward(markdown: str, page: str, repository: str | None) -> str:
    """Point the links that leave docs/ at the repository.

    Args:
        markdown: Text of the page.
        page: Path of the page below docs/.
        repository: Address of the repository; without one, only the text of such a link stays.
    """
    def replace(link: re.Match[str]) -> str:
        path, mark, anchor = link[2].partition('#')
        path = posixpath.normpath(posixpath.join('docs', posixpath.dirname(page), path))
        if path.split('/')[0] == 'docs':
            return link[0]
        if not repository:
            return link[1]
        kind = 'tree' if (ROOT / path).is_dir() else 'blob'
        return f'[{link[1]}]({repository.rstrip("/")}/{kind}/main/{path}{mark}{anchor})'

    return _UPWARD.sub(replace, markdown)


def on_config(config):
    """Called by MkDocs."""
    from pymdownx.slugs import slugify
    config.mdx_configs.setdefault('toc', {})['slugify'] = slugify(case='lower')
    return config


def on_page_markdown(markdown, page, config, files):
    """Called by MkDocs for each page."""
    return outward(markdown, page.file.src_uri, config.repo_url)


def on_page_content(html, page, config, files):
    """Called by MkDocs for each page. Docstrings name things as Sphinx does (``:func:`name```); the name is enough."""
    return re.sub(r':(?:class|data|func|meth|mod):(?=<code>)', '', html)
