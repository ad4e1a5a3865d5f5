// What columns and rules are called on the page, where a reader of it would not use the table's own
// name. A name that is missing here is shown in plain words made of itself.

const LABELS = {
  total_exp_per_user: "Experiments",
  avg_experiment_count: "Mean experiments per user",
  avg_exp_time_per_user: "Mean run time",
  total_exp_time_per_user: "Total run time",
  most_consumed_compound: "Most used compound’s number",
  most_consumed_compound_name: "Most used compound",
  most_consumed_compounds: "All most used compounds",
  most_consumed_compound_count: "Times most used",
  distinct_compounds: "Different compounds",
  avg_experiments_per_active_user: "Mean experiments per active user",
  user_name: "Name",
  signup_date: "Signed up",
  record_key: "Row’s number",
  column_name: "Column",
  load_id: "Load",
  name_of_user: "User",
  names_of_compounds: "Compounds",
};

/** `times_listed` → `Times listed`. */
export function label(name) {
  if (Object.hasOwn(LABELS, name)) return LABELS[name];
  const words = name.replaceAll("_", " ").replace(/\bid\b/, "number");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** `unknown_user` → `unknown user`. */
export const words = (name) => String(name).replaceAll("_", " ");
