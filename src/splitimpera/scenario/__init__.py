"""The scenario file: one YAML file that describes what a design is made for."""

from splitimpera.core.bounds import check_pixels as check_pixels
from splitimpera.scenario.data_section import AudioSection as AudioSection
from splitimpera.scenario.data_section import DataSection as DataSection
from splitimpera.scenario.data_section import TokensSection as TokensSection
from splitimpera.scenario.exit_section import ExitsSection as ExitsSection
from splitimpera.scenario.exit_section import ExitTrainSection as ExitTrainSection
from splitimpera.scenario.loading import Run as Run
from splitimpera.scenario.loading import load_run as load_run
from splitimpera.scenario.loading import load_scenario as load_scenario
from splitimpera.scenario.loading import section_of as section_of
from splitimpera.scenario.sections import BottlenecksSection as BottlenecksSection
from splitimpera.scenario.sections import NetworkSection as NetworkSection
from splitimpera.scenario.sections import PlansSection as PlansSection
from splitimpera.scenario.sections import Scenario as Scenario
from splitimpera.scenario.sections import SoftSection as SoftSection
from splitimpera.scenario.sections import WorkloadSection as WorkloadSection
from splitimpera.scenario.tier_sections import LINK_FIELDS as LINK_FIELDS
from splitimpera.scenario.tier_sections import DeviceSection as DeviceSection
from splitimpera.scenario.tier_sections import LinkSection as LinkSection
from splitimpera.scenario.tier_sections import RadioSection as RadioSection
from splitimpera.scenario.token_section import LengthsSection as LengthsSection
from splitimpera.scenario.token_section import RequestsSection as RequestsSection
