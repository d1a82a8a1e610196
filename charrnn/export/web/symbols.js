"use strict";
// Cuts a text into symbols of several characters, as the expression did of train --symbols.

/**
 * Finds what the expression matches, as a backtracking matcher would, from its program: steps that
 * read one of the characters of a leaf and go on with the next step, or go on at any of several
 * steps, the preferred ones first. The last step is where the expression has matched.
 */
class Cutter {
  constructor({ steps, leaves, longest }) {
    this.steps = steps;
    this.leaves = leaves.map((characters) => new Set(characters));
    this.longest = longest;
  }

  /** What is matched, if it has at least two characters, and the characters between, in order. */
  cut(text) {
    const characters = [...text], found = [];
    for (let begin = 0; begin < characters.length;) {
      const end = Math.max(this.end(characters, begin), begin + 1);
      found.push(characters.slice(begin, end).join(""));
      begin = end;
    }
    return found;
  }

  /** Where the match that begins at a place ends; 0 if none does. */
  end(characters, begin) {
    let places = this.follow([0]), end = 0;
    const stop = Math.min(begin + this.longest, characters.length);
    for (let k = begin; k < stop && places.length; k++) {
      places = this.follow(places.filter((place) => this.reads(place, characters[k]))
        .map((place) => place + 1));
      if (places[places.length - 1] === this.steps.length - 1) end = k + 1;
    }
    return end;
  }

  reads(place, character) {
    const leaf = this.steps[place].leaf;
    return leaf !== undefined && this.leaves[leaf].has(character);
  }

  /**
   * The steps that are reached without reading, the preferred ones first. Where one of them is the
   * end, those after it do not count: a match was found before.
   */
  follow(places) {
    const found = [], seen = new Set(), stack = [...places].reverse();
    while (stack.length) {
      const place = stack.pop(), { leaf, then } = this.steps[place];
      if (seen.has(place)) continue;
      seen.add(place);
      if (place === this.steps.length - 1) return [...found, place];
      if (leaf !== undefined) found.push(place);
      else stack.push(...[...then].reverse());
    }
    return found;
  }
}
